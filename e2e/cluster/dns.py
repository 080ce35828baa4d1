"""CoreDNS on the node's address: names of Services and pods, and no others."""

from e2e.cluster.binaries import Programs
from e2e.cluster.namespaces import start_inside
from e2e.cluster.settings import DOMAIN, Settings


def corefile(settings: Settings) -> str:
    """CoreDNS's configuration.

    A name outside the cluster does not exist: from here nothing could reach
    it, and asking nobody is quicker than waiting for an answer.
    """
    return f"""{DOMAIN} in-addr.arpa ip6.arpa {{
    bind {settings.node_address}
    errors
    kubernetes {DOMAIN} in-addr.arpa ip6.arpa {{
        kubeconfig {settings.certificates / "admin.kubeconfig"}
        pods insecure
        ttl 5
    }}
}}
. {{
    bind {settings.node_address}
    errors
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
"""


def start(settings: Settings, programs: Programs) -> None:
    file = settings.state / "Corefile"
    file.write_text(corefile(settings))
    start_inside(settings, "coredns", [programs["coredns"], "-conf", file])
