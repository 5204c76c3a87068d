"""The options of `segpipe train` for several processes, and torchrun's options made from them."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from typing import Annotated

import typer

from segpipe.errors import SegpipeError
from segpipe.ranks import is_of_torchrun, world_size

MULTI_GPU = tuple(f"multi_gpu_train.{suffix}" for suffix in ("yaml", "yml", "json"))
_PANEL = "Several processes, by torchrun"
_LAST_PORT = 65535

Count = Annotated[
    int | None,
    typer.Option(
        "--processes",
        min=1,
        metavar="N",
        rich_help_panel=_PANEL,
        help="Train with N processes on this machine, one a card; without cards, on its cores.",
    ),
]
Nodes = Annotated[
    int | None,
    typer.Option(
        "--nnodes", min=1, metavar="N", rich_help_panel=_PANEL, help="Number of machines; default: 1."
    ),
]
NodeRank = Annotated[
    int | None,
    typer.Option(
        "--node-rank",
        min=0,
        metavar="K",
        rich_help_panel=_PANEL,
        help="Number of this machine, 0 to N-1; the endpoint is that of machine 0. Default: torchrun numbers them.",
    ),
]
Endpoint = Annotated[
    str | None,
    typer.Option(
        "--rdzv-endpoint",
        metavar="HOST:PORT",
        rich_help_panel=_PANEL,
        help="Where the machines meet: one of them, and a free port there.",
    ),
]
RunId = Annotated[
    str | None,
    typer.Option(
        "--rdzv-id",
        metavar="ID",
        rich_help_panel=_PANEL,
        help="The same word on all machines, of this training alone; default: the name of the run.",
    ),
]
Restarts = Annotated[
    int | None,
    typer.Option(
        "--max-restarts",
        min=0,
        metavar="N",
        rich_help_panel=_PANEL,
        help="How often to go on by itself after a process ended, from the last saved state; default: 0.",
    ),
]


@dataclass(frozen=True)
class Processes:
    """The processes of a training.

    Attributes:
        number: on this machine.
        nodes: number of machines.
        node_rank: number of this machine; None: torchrun numbers them.
        endpoint: host and port where the machines meet; None: one machine, and any free port.
        run_id: name of this training among the machines; None: the name of the run.
        max_restarts: how often torchrun starts all processes again.
    """

    number: int
    nodes: int = 1
    node_rank: int | None = None
    endpoint: str | None = None
    run_id: str | None = None
    max_restarts: int = 0

    @property
    def options(self) -> list[str]:
        """The options of `segpipe train`, as the user would type them."""
        given = {
            "--processes": self.number,
            "--nnodes": self.nodes if self.nodes > 1 else None,
            "--node-rank": self.node_rank,
            "--rdzv-endpoint": self.endpoint,
            "--rdzv-id": self.run_id,
            "--max-restarts": self.max_restarts or None,
        }
        return [f"{name}={value}" for name, value in given.items() if value is not None]

    def torchrun_options(self, run_name: str) -> list[str]:
        """Return torchrun's options.

        Args:
            run_name: name of the run, for machines that meet without an id.
        """
        options = [
            f"--nproc-per-node={self.number}",
            f"--nnodes={self.nodes}",
            f"--max-restarts={self.max_restarts}",
        ]
        if self.endpoint is None:
            return [*options, "--standalone"]
        numbered = [] if self.node_rank is None else [f"--node-rank={self.node_rank}"]
        return [
            *options,
            f"--rdzv-backend={'static' if numbered else 'c10d'}",
            *numbered,
            f"--rdzv-endpoint={self.endpoint}",
            f"--rdzv-id={self.run_id or run_name}",
        ]

    def require_possible(self) -> None:
        """Refuse machines that cannot meet.

        Raises:
            SegpipeError: torchrun started this process; an option is missing or out of range; the port is in use.
        """
        if is_of_torchrun():
            raise SegpipeError(
                f"--processes {self.number}: torchrun has started this process already, one of {world_size()}; leave "
                "out --processes, or start segpipe train without torchrun"
            )
        if self.endpoint is None:
            for_machines = {
                "--nnodes": self.nodes if self.nodes > 1 else None,
                "--node-rank": self.node_rank,
                "--rdzv-id": self.run_id,
            }
            given = [f"{name} {value}" for name, value in for_machines.items() if value is not None]
            if given:
                raise SegpipeError(
                    f"{given[0]}: the machines have no place to meet; give all of them the same --rdzv-endpoint "
                    "HOST:PORT, one machine and a free port there"
                    + ("" if self.nodes > 1 else ", and --nnodes; or leave the option out")
                )
            return
        host, port = _host_and_port(self.endpoint)
        if self.node_rank is not None and self.node_rank >= self.nodes:
            raise SegpipeError(
                f"--node-rank {self.node_rank}: the training has {self.nodes} machines (--nnodes), numbered 0 to "
                f"{self.nodes - 1}"
            )
        opens = self.nodes == 1 or self.node_rank == 0  # else another machine, or process, may have opened it
        if opens and _is_in_use(host, port):
            raise SegpipeError(
                f"--rdzv-endpoint {self.endpoint}: port {port} is in use on this machine; choose another one"
                + ("" if self.nodes > 1 else ", or leave the option out: then any free port is taken")
            )


def requested_processes(
    number: int | None,
    nodes: int | None,
    node_rank: int | None,
    endpoint: str | None,
    run_id: str | None,
    max_restarts: int | None,
) -> Processes | None:
    """Return the processes that the options ask for; None for a training without torchrun.

    Raises:
        SegpipeError: an option for several processes stands without their number, or they cannot meet.
    """
    if number is None:
        others = {
            "--nnodes": nodes,
            "--node-rank": node_rank,
            "--rdzv-endpoint": endpoint,
            "--rdzv-id": run_id,
            "--max-restarts": max_restarts,
        }
        given = [f"{name} {value}" for name, value in others.items() if value is not None]
        if given:
            raise SegpipeError(
                f"{given[0]}: is for a training with several processes; give --processes N, too, the number on "
                "this machine"
            )
        return None
    processes = Processes(number, nodes or 1, node_rank, endpoint, run_id, max_restarts or 0)
    processes.require_possible()
    return processes


def _host_and_port(endpoint: str) -> tuple[str, int]:
    host, colon, port = endpoint.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > _LAST_PORT:
        raise SegpipeError(
            f"--rdzv-endpoint {endpoint}: must be HOST:PORT, a machine's name or address and a port to {_LAST_PORT}, "
            "such as node1:29500"
        )
    return host.strip("[]"), int(port)


def _is_in_use(host: str, port: int) -> bool:
    """Return whether a port is in use; False where the host is not this machine."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.create_server(address[:2], family=family):
            return False
    except OSError as error:
        return error.errno == errno.EADDRINUSE
