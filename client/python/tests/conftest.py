"""One refinery with a SIMULATED warden for all tests."""

import warnings

import pytest

import blindsmith


@pytest.fixture(scope="session")
def service():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", blindsmith.SimulatedWarning)
        started = blindsmith.local()
    with started:
        yield started


@pytest.fixture(scope="session")
def iris():
    datasets = pytest.importorskip("sklearn.datasets")
    return datasets.load_iris(return_X_y=True)


@pytest.fixture
def project(service, iris):
    rows, labels = iris
    return service.init(rows, labels, hidden=[8], name="iris")
