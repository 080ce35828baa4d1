"""The cluster's programs, built from their Go modules once and kept in the cache.

The folder `tools/` holds one go.mod per group of programs, each pinned by its
go.sum. A first build downloads about 1.4 GB of modules and takes some ten
minutes on two cores; after that a build is found by the hash of its inputs.
"""

import hashlib
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from e2e.cluster.processes import ClusterError, Command, run
from e2e.cluster.progress import say, step
from e2e.cluster.settings import SHIPPED, Settings

TOOLS = SHIPPED / "tools"


@dataclass(frozen=True, slots=True)
class Group:
    """Programs of one Go module: the file names they get, by package."""

    module: str
    programs: Mapping[str, str]  # package path -> program name
    first_time: str
    documents: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Files of YAML documents to keep beside the programs: name -> MODULE@PATH of each part."""


KUBERNETES = Group(
    module="kubernetes",
    programs={
        "go.etcd.io/etcd/server/v3": "etcd",
        "k8s.io/kubernetes/cmd/kube-apiserver": "kube-apiserver",
        "k8s.io/kubernetes/cmd/kube-controller-manager": "kube-controller-manager",
        "k8s.io/kubernetes/cmd/kube-proxy": "kube-proxy",
        "k8s.io/kubernetes/cmd/kube-scheduler": "kube-scheduler",
        "k8s.io/kubernetes/cmd/kubectl": "kubectl",
        "k8s.io/kubernetes/cmd/kubelet": "kubelet",
    },
    first_time="about 7 minutes on 2 cores",
)
COREDNS = Group(
    module="coredns",
    programs={"github.com/coredns/coredns": "coredns"},
    first_time="about 2 minutes on 2 cores",
)
KWOK = Group(
    module="kwok",
    programs={"sigs.k8s.io/kwok/cmd/kwok": "kwok"},
    first_time="about 2 minutes on 2 cores",
    # How fake nodes and pods behave: at once ready, heartbeats as leases, gone when deleted.
    documents={
        "stages.yaml": tuple(
            f"sigs.k8s.io/kwok@kustomize/stage/{path}.yaml"
            for path in (
                "node/fast/node-initialize",
                "node/heartbeat-with-lease/node-heartbeat-with-lease",
                "pod/fast/pod-ready",
                "pod/fast/pod-complete",
                "pod/fast/pod-delete",
            )
        )
    },
)
KUBE_SCORE = Group(
    module="kube-score",
    programs={"github.com/zegl/kube-score/cmd/kube-score": "kube-score"},
    first_time="about a minute on 2 cores",
)
NODE = Group(
    module="node",
    programs={
        "plimsoll.dev/e2e/cluster/tools/node/pause": "pause",
        "plimsoll.dev/e2e/cluster/tools/node/forward": "forward",
    },
    first_time="some seconds",
)


def required_version(go_mod: str, module: str) -> str:
    """The version at which a go.mod requires `module`. Raises ClusterError when it does not."""
    found = re.search(rf"^\s*(?:require\s+)?{re.escape(module)}\s+(v\S+)", go_mod, re.MULTILINE)
    if found is None:
        raise ClusterError(f"go.mod does not require {module}")
    return found.group(1)


def linker_flags(group: Group) -> str:
    """Flags for `go build -ldflags`.

    Kubernetes' programs learn their version from the linker; without it they
    report a version that clients cannot parse.
    """
    flags = "-s -w"
    if group is KUBERNETES:
        go_mod = (TOOLS / group.module / "go.mod").read_text()
        version = required_version(go_mod, "k8s.io/kubernetes")
        for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"):
            flags += f" -X {package}.gitVersion={version}"
    return flags


def inputs_hash(group: Group) -> str:
    """Short hash of all that decides what a build yields."""
    made_of = f"{platform.machine()} {linker_flags(group)} {sorted(group.documents.items())}"
    digest = hashlib.sha256(made_of.encode())
    for file in sorted((TOOLS / group.module).rglob("*")):
        if file.is_file():
            digest.update(file.relative_to(TOOLS).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def build(settings: Settings, group: Group) -> Path:
    """The folder with the group's programs, which are built if they are not there yet."""
    folder = settings.cache / "bin" / f"{group.module}-{inputs_hash(group)}"
    if folder.is_dir():
        return folder
    if shutil.which("go") is None:
        raise ClusterError(
            "the cluster's programs are built with Go, and `go` is not on PATH: install Go 1.26 "
            "or later (1.21 or later fetches it by itself), or set KUBECONFIG to a cluster you have"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    say(f"building {', '.join(group.programs.values())}: {group.first_time}, once")
    with (
        step(f"go build ({group.module})"),
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=".build-") as scratch,
    ):
        target = Path(scratch) / "programs"
        target.mkdir()
        for package, program in group.programs.items():
            go: Command = ["env", "CGO_ENABLED=0", "go", "-C", TOOLS / group.module, "build"]
            flags: Command = ["-buildvcs=false", "-trimpath", "-ldflags", linker_flags(group)]
            output: Command = ["-o", target / program, package]
            run([*go, *flags, *output], timeout=3600)
            say(f"  {program}")
        for name, parts in group.documents.items():
            texts = [_module_file(group, *part.split("@")) for part in parts]
            (target / name).write_text("\n---\n".join(texts))
        target.rename(folder)
    return folder


def _module_file(group: Group, module: str, path: str) -> str:
    """The text of a file that a Go module carries."""
    go: Command = ["go", "-C", TOOLS / group.module]
    return (Path(run([*go, "list", "-m", "-f", "{{.Dir}}", module]).strip()) / path).read_text()


@dataclass(frozen=True, slots=True)
class Programs:
    """Where each program is: in the first of the folders that has it."""

    folders: tuple[Path, ...]

    def __getitem__(self, name: str) -> Path:
        for folder in self.folders:
            if (folder / name).is_file():
                return folder / name
        raise ClusterError(f"no program {name} in {', '.join(map(str, self.folders))}")


def programs(settings: Settings, environment: Mapping[str, str] = os.environ) -> Programs:
    """All programs of a cluster but KWOK's.

    Those that KUBEBUILDER_ASSETS offers (etcd, kube-apiserver, kubectl; the
    convention of controller-runtime's envtest) are taken from there.
    """
    given = environment.get("KUBEBUILDER_ASSETS")
    assets = Path(given) if given else None
    if assets is not None and not assets.is_dir():
        raise ClusterError(f"KUBEBUILDER_ASSETS={given} is not a folder: unset it or correct it")
    ours = (build(settings, group) for group in (KUBERNETES, COREDNS, NODE))
    return Programs((*([assets] if assets else []), *ours))


def kwok_folder(settings: Settings) -> Path:
    """The folder with `kwok` and its `stages.yaml`."""
    return build(settings, KWOK)


def kube_score(settings: Settings) -> Path:
    """The program that judges manifests, which no cluster needs."""
    return build(settings, KUBE_SCORE) / "kube-score"
