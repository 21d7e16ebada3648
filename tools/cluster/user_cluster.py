"""A cluster of the user's, selected by its context; it is only checked for a response.

The context is copied to a separate kubeconfig, and everything uses that file and context, so that no other cluster of
the user can be reached by mistake.
"""

import shutil

from tools.cluster import process
from tools.cluster.cache import draft
from tools.cluster.cluster import Cluster
from tools.cluster.console import Console
from tools.cluster.errors import ClusterError
from tools.cluster.settings import Settings


def up(context: str, settings: Settings, console: Console) -> Cluster:
    """Return the cluster of this context; raises ClusterError if it does not respond."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise ClusterError("kubectl is not installed", hint="install it: https://kubernetes.io/docs/tasks/tools")
    with console.step("cluster") as step:
        with draft(settings.kubeconfig) as path:
            path.touch(mode=0o600)  # it holds the user's credentials
            path.write_text(_flattened(kubectl, context, settings), encoding="utf-8")
        cluster = Cluster(context, context, settings.kubeconfig, kubectl)
        hint = f"check that `kubectl --context={context} get nodes` works, then run this again"
        cluster.ask("get", "--raw=/readyz", "--request-timeout=10s", timeout=15, hint=hint)
        step.says(f"{context} answers")
    return cluster


def _flattened(kubectl: str, context: str, settings: Settings) -> str:
    return process.answer(
        [kubectl, "config", "view", "--minify", "--flatten", f"--context={context}"],
        env={"KUBECONFIG": settings.kubeconfigs},
        hint=f"check that `kubectl config get-contexts` lists {context}",
    )


def forget(settings: Settings) -> None:
    """Delete our copy of the context."""
    settings.kubeconfig.unlink(missing_ok=True)
