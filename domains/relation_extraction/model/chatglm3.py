"""The shape of ChatGLM3: its modules by their official names, for counting and for the names of its adapters' tensors.

The base needs remote code to run, which the suite never runs; its sizes are facts of its published configuration.
"""

from __future__ import annotations

from typing import NoReturn

from torch import nn

from suite.errors import InputError


class ChatGLM3Skeleton(nn.Module):
    """Parameters of THUDM/chatglm3-6b (6,243,584,000 of them) without a forward pass.

    Args:
        multi_query_group_num: groups of keys and values; `query_key_value` has
            `hidden_size + 2 * groups * kv_channels` outputs.
        padded_vocab_size: rows of the embedding and of the output layer.
    """

    def __init__(
        self,
        hidden_size: int = 4096,
        num_layers: int = 28,
        ffn_hidden_size: int = 13696,
        kv_channels: int = 128,
        multi_query_group_num: int = 2,
        padded_vocab_size: int = 65024,
    ) -> None:
        super().__init__()
        projected = hidden_size + 2 * multi_query_group_num * kv_channels
        layers = [_layer(hidden_size, projected, ffn_hidden_size) for _ in range(num_layers)]
        encoder = nn.ModuleDict({"layers": nn.ModuleList(layers), "final_layernorm": nn.RMSNorm(hidden_size)})
        embedding = nn.ModuleDict({"word_embeddings": nn.Embedding(padded_vocab_size, hidden_size)})
        output = nn.Linear(hidden_size, padded_vocab_size, bias=False)
        self.transformer = nn.ModuleDict({"embedding": embedding, "encoder": encoder, "output_layer": output})

    def forward(self, *_: object, **__: object) -> NoReturn:
        raise InputError("ChatGLM3 needs remote code to run, which is never run; its shapes can only be counted")


def _layer(hidden: int, projected: int, wide: int) -> nn.ModuleDict:
    return nn.ModuleDict(
        {
            "input_layernorm": nn.RMSNorm(hidden),
            "self_attention": nn.ModuleDict(
                {"query_key_value": nn.Linear(hidden, projected), "dense": nn.Linear(hidden, hidden, bias=False)}
            ),
            "post_attention_layernorm": nn.RMSNorm(hidden),
            "mlp": nn.ModuleDict(
                {
                    # Gate and up projection in one.
                    "dense_h_to_4h": nn.Linear(hidden, 2 * wide, bias=False),
                    "dense_4h_to_h": nn.Linear(wide, hidden, bias=False),
                }
            ),
        }
    )
