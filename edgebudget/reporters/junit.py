"""JUnit XML, for CI systems: a test case per (model, device) pair, which fails where no option is GO."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from edgebudget.labels import LABELS
from edgebudget.printable import one_line
from edgebudget.report import Report, chosen
from edgebudget.reporters._parts import number
from edgebudget.verdict import CheckResult, Decision

# What XML 1.0 cannot hold even as a character reference
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class JunitReporter:
    """Numbers stand as properties named `runtime.dtype.key`."""

    name: str = "junit"
    suffix: str = ".xml"

    def render(self, report: Report) -> str:
        pairs = report.pairs()
        failures = sum(chosen(options).decision is not Decision.GO for options in pairs.values())
        counts = {
            "tests": str(len(pairs) + len(report.errors)),
            "failures": str(failures),
            "errors": str(len(report.errors)),
        }
        root = ET.Element("testsuites", {"name": "edgebudget", **counts})
        suite = ET.SubElement(root, "testsuite", {"name": "edgebudget", "timestamp": report.generated_at, **counts})
        for (model, device), options in pairs.items():
            _pair(suite, model, device, options)
        for error in report.errors:
            case = _case(suite, error.model, error.device or "all devices")
            ET.SubElement(case, "error", {"type": "ERROR", "message": _xml(f"{error.message} {error.hint}".rstrip())})
        ET.indent(root)
        return ET.tostring(root, encoding="unicode", xml_declaration=False) + "\n"


def _pair(suite: ET.Element, model: str, device: str, options: Sequence[CheckResult]) -> None:
    case = _case(suite, model, device)
    properties = ET.SubElement(case, "properties")
    for option in options:
        for key in LABELS:
            value = number(option, key)
            if value is not None:
                name = _xml(f"{option.runtime}.{option.dtype}.{key}")
                ET.SubElement(properties, "property", {"name": name, "value": str(value)})
    shown = chosen(options)
    if shown.decision is not Decision.GO:
        message = _xml(f"{shown.dtype} on {shown.runtime}: {' '.join(shown.reasons)}")
        ET.SubElement(case, "failure", {"type": str(shown.decision), "message": message})
    lines = [f"{o.runtime} {o.dtype}: {o.decision}. {' '.join(o.reasons)}" for o in options]
    ET.SubElement(case, "system-out").text = "\n".join(_xml(one_line(line)) for line in lines)


def _case(suite: ET.Element, model: str, device: str) -> ET.Element:
    return ET.SubElement(suite, "testcase", {"name": _xml(model), "classname": _xml(device)})


def _xml(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)


REPORTER = JunitReporter()
