"""Options of the command line that say what a run is done with: written once, taken by the commands that need them."""

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import typer

from harness.crashpoints.model import CALLED
from harness.defaults import GOLDEN, make_settings
from harness.platforms.settings import CLUSTER, DEFAULT_FAULTS, EDGES, NODE_ACCESS, PLATFORMS

AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output instead of tables.")]


def _option(kind: Any, default: Any, *flags: str, **given: Any) -> tuple[Any, Any]:
    return Annotated[kind, typer.Option(*flags, **given)], default


# Named as the arguments of make_settings, in the order of --help.
_OPTIONS: Mapping[str, tuple[Any, Any]] = MappingProxyType(
    {
        "workload": _option(
            Path,
            GOLDEN,
            "--workload",
            "-w",
            help="emcoctl file with the calls.",
            show_default="the built-in golden workload",
        ),
        "values": _option(
            Path | None,
            None,
            "--values",
            help="Values file of the workload, as `emcoctl -v`.",
            show_default="<workload>.values.yaml if it is there",
        ),
        "emco_bin": _option(
            Path | None,
            None,
            "--emco-bin",
            help="Folder with real EMCO binaries, laid out as `DIR/SERVICE/SERVICE`.",
            show_default="the reference EMCO",
        ),
        "emco": _option(
            str,
            "",
            "--emco",
            "--emco-version",
            metavar="VERSION",
            help="A release of EMCO: on processes as `get-emco` took it from its images, on kind these images.",
            show_default="the reference EMCO",
        ),
        "emco_images": _option(
            str,
            "",
            "--emco-images",
            metavar="PLACE",
            help="kind: where the images of --emco are: a repository, an archive of images, or a folder of such.",
            show_default="where EMCO publishes them",
        ),
        "charts": _option(
            Path | None,
            None,
            "--charts",
            metavar="DIR",
            help="kind: install the services of --emco by EMCO's own Helm charts in this folder (needs helm).",
            show_default="small manifests of the harness",
        ),
        "chart_values": _option(
            list[Path],
            (),
            "--chart-values",
            metavar="FILE",
            help="kind: values for these charts; may be repeated.",
        ),
        "store_charts": _option(
            bool,
            False,
            "--store-charts",
            help="kind: install mongo and etcd, too, by the chart emco-db in that folder.",
        ),
        "monitor_chart": _option(
            Path | None,
            None,
            "--monitor-chart",
            metavar="DIR",
            help="kind: EMCO's chart monitor, to report on edges that are clusters (needs helm).",
            show_default="a stand-in of the harness",
        ),
        "patches": _option(
            Path | None,
            None,
            "--patches",
            metavar="PLACE",
            help="kind, kubernetes: a kustomization, by its file or folder, whose patches (strategic merge or JSON "
            "6902) are applied to what is made in the cluster.",
        ),
        "reference": _option(
            str,
            "faithful",
            "--reference",
            help="Defects of the reference EMCO: faithful, fixed, or switches such as B1,C1.",
        ),
        "mongo_uri": _option(
            str,
            "",
            "--mongo-uri",
            envvar="EMCO_CHAOS_MONGO_URI",
            help="A running standalone mongo, empty or marked as the harness's.",
            show_default="an embedded one",
        ),
        "etcd_endpoint": _option(
            str,
            "",
            "--etcd-endpoint",
            help="A running etcd, host:port, empty or marked.",
            show_default="an embedded one",
        ),
        "edges": _option(
            str,
            EDGES[0],
            "--edges",
            help="What the clusters are: emulator, or kube-apiserver: one of the run's own for each, with its etcd, "
            "both from the folder that KUBEBUILDER_ASSETS names; kind, with --platform kind: a cluster for each.",
        ),
        "edge_kubeconfigs": _option(
            list[str],
            (),
            "--edge-kubeconfig",
            metavar="EDGE",
            help="A running cluster in the place of one of the workload's: PROVIDER+CLUSTER=FILE, or =FILE#CONTEXT; "
            "may be repeated. Only namespaces with the label emco-chaos/allowed=true are touched.",
        ),
        "platform": _option(
            str,
            PLATFORMS[0],
            "--platform",
            help="Where EMCO runs: process; kind: in pods of a cluster that is made for the run; kubernetes: as it is "
            "installed in a cluster that is there.",
        ),
        "kubeconfig": _option(
            Path | None, None, "--kubeconfig", metavar="FILE", help="kubernetes: how that cluster is reached."
        ),
        "context": _option(str, "", "--context", help="kubernetes: the context; never the current one by itself."),
        "node_access": _option(
            str,
            NODE_ACCESS[0],
            "--node-access",
            envvar="EMCO_CHAOS_NODE_ACCESS",
            help="kind, kubernetes: auto kills services on their node where it is within reach, a kind cluster's of "
            "one node; none deletes their pods, and sees from outside when they are dead.",
        ),
        "cluster": _option(str, CLUSTER, "--cluster", help="kind: name of the set of clusters; its hub is NAME-hub."),
        "node_image": _option(
            str,
            "",
            "--node-image",
            envvar="EMCO_CHAOS_NODE_IMAGE",
            help="kind: image of the nodes.",
            show_default="kind's own",
        ),
        "keep": _option(bool, False, "--keep", help="kind: leave the clusters for later runs."),
        "reuse": _option(bool, False, "--reuse", help="kind: use the clusters that were left."),
        "isolate": _option(
            bool,
            True,
            "--isolate/--no-isolate",
            help="Use a network namespace for each worker where the system allows it.",
        ),
        "faults": _option(
            str,
            ",".join(DEFAULT_FAULTS),
            "--faults",
            help="Which points: crash, disconnect, none (calls that must be refused); reset, error (of a store).",
        ),
        "victims": _option(
            str,
            CALLED,
            "--victims",
            help="Whose boundaries: `called` (the called service's), and services that work beside it, such as rsync.",
        ),
        "workers": _option(
            int,
            0,
            "--workers",
            "-n",
            help="Environments side by side; 0: as by default.",
            show_default="cores, at most 4",
        ),
        "seed": _option(int, 0, "--seed", help="Decides the order of calls."),
    }
)

KIND = ("platform", "kubeconfig", "context", "node_access", "cluster", "node_image", "keep", "reuse")
"""Options that say where it runs."""

SYSTEM = ("workload", "values", "emco_bin", "emco", "emco_images", "charts", "chart_values", "store_charts",
          "monitor_chart", "patches", "reference", "mongo_uri", "etcd_endpoint", "edges", "edge_kubeconfigs", "isolate",
          *KIND)  # fmt: skip
"""Options that say what is tested."""

EVERYTHING = (*SYSTEM, "faults", "victims", "workers", "seed")
"""These, and what is done to it."""


def with_settings(*names: str, **fixed: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the named options in the place of its argument `settings`, which is made from them.

    Without the option `workers` there is one worker; the others are as `fixed`, or have their defaults. The command
    raises UsageError for settings that are wrong before anything else.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(command).parameters.values())
        options = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
            for name, (annotation, default) in _OPTIONS.items()
            if name in names
        ]
        at = next(index for index, parameter in enumerate(own) if parameter.name == "settings")
        parameters = [*own[:at], *options, *own[at + 1 :]]

        @functools.wraps(command)
        def with_options(**given: Any) -> None:
            values = {name: default for name, (_, default) in _OPTIONS.items()} | {"workers": 1} | fixed
            values |= {name: given.pop(name) for name in names}
            command(settings=make_settings(**values), **given)

        # typer goes by both
        with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # as the docs of inspect have it
        with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return with_options

    return decorate
