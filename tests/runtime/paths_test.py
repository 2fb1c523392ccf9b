import pathlib

import pytest

from jax_scadn.runtime import errors, paths


def test_home():
    home = pathlib.Path.home()
    assert paths.local("~/data") == f"{home}/data"
    assert paths.local("~") == str(home)
    for path in ("", "data", "/data", "a~b", "../~", "c:/x"):
        assert paths.local(path) == path


@pytest.mark.parametrize("scheme", ["gs", "s3", "http", "https", "hdfs", "S3A"])
def test_addresses(scheme):
    with pytest.raises(errors.UserError, match=f"^{scheme}://b/c: give a path"):
        paths.local(f"{scheme}://b/c")
