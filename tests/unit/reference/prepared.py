"""A reference EMCO with everything up to an approved deployment intent group, made as the traces made it."""

from . import bench
from .test_conformance import FILES, TRACES


async def approved(running: bench.Bench) -> None:
    """Make the traces' calls up to the one that instantiates the group; each has to be answered as recorded."""
    await running.wait_schema()
    for call in TRACES["calls"]:
        if call["step"] == "instantiate":
            return
        body, file = call["body"], None
        if call["step"] in FILES:
            body, content = FILES[call["step"]]
            file = content(running)  # type: ignore[no-untyped-call]  # a table of two kinds of functions
        if call["step"] == "ctl-rsync":
            body = {**body, "spec": {"host": running.address(41), "port": 9031}}
        answer = await running.call(call["service"], call["method"], call["path"], body, file=file)
        assert answer.status == call["status"], answer
        await running.quiet()
