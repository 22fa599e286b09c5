"""A sweep's table as a summary: `python -m tests.report_sweep zoo.parquet "took 41 min ..." > reports/sweep.md`."""

import sys

import pandas as pd


def main(path: str, how: str) -> None:
    table = pd.read_parquet(path)
    zoo = table.model.str.partition(":")[0]
    models = table.drop_duplicates(["model", "resolution"])
    print(f"# A sweep over zoos\n\n{how}\n\n| zoo | models | estimated | not estimated | timeout | memory | crash |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name, group in models.groupby(models.model.str.partition(":")[0]):
        counts = group.failure.value_counts()
        kinds = " | ".join(str(counts.get(kind, 0)) for kind in ("not estimated", "timeout", "memory", "crash"))
        print(f"| {name} | {len(group)} | {group.failure.isna().sum()} | {kinds} |")
    failed = table[table.failure.notna()]
    if len(failed):
        print("\n| models | failure | reason, its first sentence | for example |\n|--:|---|---|---|")
        said = failed.apply(lambda row: _plain(row.reasons, row.model), axis=1)
        for (kind, reason), group in sorted(failed.groupby([failed.failure, said]), key=lambda item: -len(item[1])):
            print(f"| {len(group)} | {kind} | {reason} | {group.model.iloc[0]} |")
    done = table[table.failure.isna()]
    print("\n| zoo | device | runtime | dtype | GO | MARGINAL | NO-GO | UNSUPPORTED | ERROR | median peak |")
    print("|---|---|---|---|--:|--:|--:|--:|--:|--:|")
    for key, group in done.groupby([zoo[done.index], "device", "runtime", "dtype"]):
        counts = group.decision.value_counts()
        kinds = " | ".join(str(counts.get(d, 0)) for d in ("GO", "MARGINAL", "NO-GO", "UNSUPPORTED", "ERROR"))
        peak = group.peak_bytes.median()
        shown = "" if pd.isna(peak) else f"{peak / 2**20:.0f} MiB"
        print(f"| {' | '.join(map(str, key))} | {kinds} | {shown} |")


def _plain(reason: str, model: str) -> str:
    short = model.rpartition(":")[2]
    words = reason.replace(model, "MODEL").replace(short, "MODEL").replace("|", "/").split()
    return " ".join(words).split(". ")[0].rstrip(".")[:160] + "."


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
