"""Seventy billion parameters, on a machine that could not hold one of its layers."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODEL = """
import torch
from torch import nn

WIDTH, HEADS, KEYS, HIDDEN, LAYERS, WORDS = 8192, 64, 8, 28672, 80, 128256
SIZE = WIDTH // HEADS

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(WIDTH), nn.RMSNorm(WIDTH)
        self.q, self.o = nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.k, self.v = (nn.Linear(WIDTH, KEYS * SIZE, bias=False) for _ in range(2))
        self.gate, self.up = nn.Linear(WIDTH, HIDDEN, bias=False), nn.Linear(WIDTH, HIDDEN, bias=False)
        self.down = nn.Linear(HIDDEN, WIDTH, bias=False)

    def forward(self, x):
        y, (batch, steps, _) = self.norm1(x), x.shape
        q, k, v = (f(y).view(batch, steps, -1, SIZE).transpose(1, 2) for f in (self.q, self.k, self.v))
        k, v = (t.repeat_interleave(HEADS // KEYS, 1) for t in (k, v))
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o(y.transpose(1, 2).reshape(batch, steps, WIDTH))
        y = self.norm2(x)
        return x + self.down(nn.functional.silu(self.gate(y)) * self.up(y))

class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(WORDS, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm, self.head = nn.RMSNorm(WIDTH), nn.Linear(WIDTH, WORDS, bias=False)

    def forward(self, ids):
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))

def seventy():
    return Transformer(), (torch.zeros(1, 2048, dtype=torch.int64),)
"""
RUN = """
import json, resource, sys, time
import torch
def resident(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before, start = resident(), time.process_time()
from edgebudget.pipeline import Request, check_model, resolve_asked
done = check_model(sys.argv[1], Request(resolve_asked(["linux-x86_64"])))
numbers = [result.parameter_numel for result in done.results]
print(json.dumps([time.process_time() - start, resident() - before, numbers, [str(r.decision) for r in done.results]]))
"""


def test_seventy_billion_parameters_take_seconds_and_no_memory(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(MODEL)
    text = subprocess.run(
        [sys.executable, "-c", RUN, f"{tmp_path / 'model.py'}:seventy"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    seconds, nbytes, numels, decisions = json.loads(text)
    assert set(numels) == {70_553_706_496}  # Llama 3 70B, as published
    assert set(decisions) == {"NO-GO"}
    assert seconds < 10
    assert nbytes < 300 * 2**20
