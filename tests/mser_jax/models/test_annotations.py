"""The shapes that the annotations state, held against every call of the paper's network."""

import json
import subprocess
import sys

from helpers import ROOT

# In a process of its own: annotations are checked from the import on.
CHECKED = """
import json

import jax
from jaxtyping import TypeCheckError, install_import_hook

with install_import_hook("mser_jax.models", "beartype.beartype"):
    from mser_jax.models import MSRes3D, MSRes3DSettings, functional

network = functional(lambda rngs: MSRes3D(MSRes3DSettings(classes=3), rngs=rngs))


def logits(key, x, mask):
    return network.apply(*network.init(key), x, mask, True)[0]


key = jax.eval_shape(lambda: jax.random.key(0))
x = jax.ShapeDtypeStruct((2, 16, 134, 134, 3), "float32")
right, wrong = (jax.ShapeDtypeStruct((clips,), "bool") for clips in (2, 3))
print(json.dumps(jax.eval_shape(logits, key, x, right).shape))
try:
    jax.eval_shape(logits, key, x, wrong)
except TypeCheckError as error:
    assert "'mask'" in str(error), error
    print("refused")
"""


def test_the_papers_network_at_full_size_is_as_annotated():
    done = subprocess.run([sys.executable, "-c", CHECKED], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    shape, word = done.stdout.splitlines()
    assert json.loads(shape) == [2, 4, 3]
    assert word == "refused"
