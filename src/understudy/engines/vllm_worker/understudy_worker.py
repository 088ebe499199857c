"""Our extension of vLLM's workers; it runs in vLLM's environment and imports nothing of ours.

PYTHONPATH=.../understudy/engines/vllm_worker ... --worker-extension-cls understudy_worker.Reload
"""

from typing import Any


class Reload:
    """A mixin for vLLM's worker, called over `/collective_rpc`."""

    def load_folder(self, path: str) -> None:
        """Load the weights of a model folder in place.

        On a CPU vLLM multiplies by a packed copy of each matrix. A reload packs the matrices that
        it reads, but does not read a head that is tied to the embeddings (vLLM 0.32.0), so without
        this the head would keep its old weights.
        """
        worker: Any = self
        worker.reload_weights(weights_path=path)
        head: Any = getattr(worker.get_model(), "lm_head", None)
        if hasattr(head, "cpu_linear"):
            head.quant_method.process_weights_after_loading(head)
