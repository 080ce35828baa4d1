"""Command line of the cluster: `python -m e2e.cluster COMMAND`, from the top of the repository."""

import argparse
import os
import sys
from pathlib import Path

from e2e.cluster import fake_gpus, images, kwok, lifecycle, namespaces, packages
from e2e.cluster.binaries import kwok_folder, programs
from e2e.cluster.locks import only_one
from e2e.cluster.packages import SEARCHED
from e2e.cluster.privilege import become_root, give_to_caller
from e2e.cluster.processes import ClusterError
from e2e.cluster.progress import say
from e2e.cluster.residue import residue
from e2e.cluster.settings import DEFAULT_NAME, Settings, settings_for


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m e2e.cluster", description=__doc__)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--name", default=DEFAULT_NAME, help="which cluster (default: %(default)s)")
    commands = top.add_subparsers(dest="command", required=True)

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text, parents=[common])

    add("build", "build the programs of a cluster; the first time takes about 10 minutes")
    add("up", "bring the cluster up, and print the path of its kubeconfig")
    add("down", "take the cluster down and check that nothing is left of it")
    add("status", "tell whether the cluster is up and healthy (exit code 1 when not)")
    add("purge", "take the cluster down and remove all caches: programs, images, base image")
    add("residue", "list what is left of a cluster on this machine")
    add("kubeconfig", "print the path of the cluster's kubeconfig")
    built = add("images", "build the project's images and hand them to the cluster")
    built.add_argument("image", nargs="*", choices=["operator", "runtime", []], help="default: all")
    add("load", "hand the cluster an image archive").add_argument("archive", type=Path)
    fake = add("fake-gpus", "create nodes with GPUs that do not exist")
    fake.add_argument("--nodes", type=int, default=8)
    fake.add_argument("--product", default="NVIDIA-H200")
    fake.add_argument("--memory-mib", type=int, default=143771)
    fake.add_argument("--count", type=int, default=8, help="GPUs per node")
    fake.add_argument("--remove", action="store_true", help="delete all fake nodes instead")
    fake.add_argument("--on", metavar="NODE", help="let this existing node claim them instead")
    execute = add("exec", "run a command inside the cluster's namespaces: exec -- ip route")
    execute.add_argument("argv", nargs="+")
    return top


def main(arguments: list[str]) -> int:
    """Run one command; returns its exit code."""
    options = parser().parse_args(arguments)
    try:
        settings = settings_for(options.name)
        # Programs of an administrator are not on everybody's PATH.
        os.environ["PATH"] = SEARCHED
        # What kubectl remembers as root must not end up in the person's home.
        os.environ["KUBECACHEDIR"] = str(settings.cache / "kubectl")
        os.environ["KUBERC"] = "off"
        if options.command == "kubeconfig":
            print(settings.kubeconfig)
            return 0
        prepare(settings, options.command)
        become_root(arguments)
        if options.command in ("status", "residue", "exec"):  # they change nothing
            return perform(settings, options)
        with only_one(settings, f"cluster-{settings.name}"):
            return perform(settings, options)
    except (ClusterError, ValueError) as error:
        say(f"failed: {error}")
        return 1


def prepare(settings: Settings, command: str) -> None:
    """What the person does rather than root: install packages, and build in their Go caches."""
    if command in ("build", "up"):
        packages.ensure_node()
    if command in ("build", "up", "status", "images", "fake-gpus"):
        programs(settings)
    if command in ("build", "fake-gpus"):
        kwok_folder(settings)
    if command == "images":
        packages.ensure_images()


def perform(settings: Settings, options: argparse.Namespace) -> int:
    match options.command:
        case "up":
            lifecycle.up(settings)
            give_to_caller(settings)
            print(settings.kubeconfig)
        case "down":
            return 1 if lifecycle.down(settings) else 0
        case "purge":
            left = lifecycle.down(settings)
            lifecycle.remove_caches(settings)
            return 1 if left else 0
        case "residue":
            left = residue(settings)
            print("\n".join(left) or "nothing")
            return 1 if left else 0
        case "status":
            reason = lifecycle.broken(settings, programs(settings))
            print(f"{settings.name}: {reason or 'up'}")
            return 1 if reason else 0
        case "images":
            wanted = tuple(i for i in images.ALL if not options.image or i.name in options.image)
            print("\n".join(images.ensure(settings, wanted)))
        case "load":
            images.load(settings, options.archive)
        case "fake-gpus":
            return fake(settings, options)
        case "exec":
            argv = namespaces.inside(settings, options.argv)
            os.execvp(argv[0], argv)  # noqa: S606 (the command takes over)
    return 0


def fake(settings: Settings, options: argparse.Namespace) -> int:
    kubectl = programs(settings)["kubectl"]
    gpus = fake_gpus.FakeGpus(options.product, options.memory_mib, options.count)
    if options.remove:
        fake_gpus.remove(kubectl, settings.kubeconfig)
    elif options.on:
        fake_gpus.advertise(kubectl, settings.kubeconfig, options.on, gpus)
    else:
        kwok.ensure(settings)
        print("\n".join(fake_gpus.create(kubectl, settings.kubeconfig, gpus, options.nodes)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
