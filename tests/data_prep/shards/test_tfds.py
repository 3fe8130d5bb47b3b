"""A set as TensorFlow Datasets finds it: by its name."""

from helpers.made_shards import made, run, write

SCRIPT = """
import sys
import tensorflow_datasets as tfds
name, data_dir = "noise/0123abcd-4567cdef", sys.argv[1]
clips = tfds.data_source(name, data_dir=data_dir, split="clips")
print(len(clips), [clip["clip_id"].decode() for clip in clips])
print(tfds.builder(name, data_dir=data_dir).info.features["label"].names)
print("tensorflow" in sys.modules)
"""


def test_set_is_found_by_its_name_without_tensorflow(tmp_path):
    write(tmp_path, [made(number) for number in range(3)])
    found = run(SCRIPT, tmp_path)
    assert found.returncode == 0, found.stderr
    clips, names, tensorflow = found.stdout.splitlines()
    assert clips == "3 ['EP0 é', 'EP1 é', 'EP2 é']"
    assert names == "['calm', 'wild']"
    assert tensorflow == "False"
