"""What the reference refuses of logical clouds, as real dcm was measured to."""

import asyncio

import pytest

from . import bench
from .prepared import approved

CLOUD = "/v2/projects/proj1/logical-clouds/lc1"


@pytest.mark.parametrize("defects, removed", [("D1", 500), ("fixed", 204)])
def test_a_cloud_that_a_group_uses_is_not_terminated_and_one_without_context_keeps_its_edges(
    defects: str, removed: int
) -> None:
    asyncio.run(_ask(defects, removed))


async def _ask(defects: str, removed: int) -> None:
    async with bench.running(defects=defects, monitor=False) as running:
        await approved(running)
        before = await running.documents()

        used = await running.call("dcm", "POST", f"{CLOUD}/terminate", None)

        assert used.status == 400
        assert await running.documents() == before
        for key in await running.keys():
            await running.etcd.delete(key)
        gone = await running.call("dcm", "DELETE", f"{CLOUD}/cluster-references/ref1", None)
        assert gone.status == removed
