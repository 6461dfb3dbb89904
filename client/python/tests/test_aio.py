"""The same for asyncio: operations run beside each other, and end when they are cancelled."""

import asyncio
import inspect

import pytest

import blindsmith
import blindsmith.aio


def test_it_has_the_same_names():
    for name, member in inspect.getmembers(blindsmith.Project):
        if not name.startswith("_") and callable(member):
            assert hasattr(blindsmith.aio.Project, name), name


def test_operations_run_beside_each_other_and_are_cancelled(iris):
    rows, labels = iris

    async def main():
        with pytest.warns(blindsmith.SimulatedWarning):
            async with blindsmith.aio.local() as service:
                projects = await asyncio.gather(*(service.init(rows, labels, hidden=[4]) for _ in range(3)))
                stored = await asyncio.gather(*(project.push(rows, labels) for project in projects))
                assert [upload.rows for upload in stored] == [150] * 3
                first = projects[0]
                assert [ended.round async for ended in first.rounds(follow=True)] == [0, 1]
                assert (await first.predict(rows)).rows == 150
                assert (await first.pull()).version == 1 and await first.verify()
                waiting = asyncio.ensure_future(first.refine(epochs=1_000_000))
                while not (await first.status()).busy:
                    await asyncio.sleep(0.01)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                # The round goes on: nobody waited for its end.
                assert (await first.status()).busy
                assert "SIMULATED" in repr(first) and "SIMULATED" in repr(service)

    asyncio.run(main())
