import pytest

from trl_ext.session_ppo.toy import ToyWorld, write_toy_world


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> ToyWorld:
    return write_toy_world(tmp_path_factory.mktemp("toy"))
