"""What peft's methods compute and how many numbers they train, as their sources show it.

`trains` counts a layer of `in` inputs and `out` outputs in the words of the method's settings; where a method is no
matter of single layers, a block or a model of `hidden` channels and `layers` blocks.
"""

from __future__ import annotations

from typing import NamedTuple


class Facts(NamedTuple):
    """The equation of a method, and what it trains."""

    equation: str
    trains: str


FACTS: dict[str, Facts] = {
    "adalora": Facts("W + alpha / n B diag(E) A,  ranks of little importance masked", "init_r * (in + out + 1)"),
    "adamss": Facts("W + the subspaces' B A, each of a cluster of columns of W's principal part", "by subspace"),
    "adaption_prompt": Facts(
        "attention(x) + g attention(x, prompt),  g = 0 at the start", "adapter_layers * (adapter_len * hidden + 1)"
    ),
    "beft": Facts("W x + b,  b learned, on chosen projections", "out"),
    "boft": Facts(
        "diag(s) R W,  R a product of block-diagonal rotations in butterfly order",
        "boft_n_butterfly_factor * in * boft_block_size + out",
    ),
    "c3a": Facts("W + blocks of circulant matrices", "in * out // block_size"),
    "cartridge": Facts(
        "attention(x) over trained keys and values too, which start as those of a text",
        "2 * layers * num_virtual_tokens * hidden",
    ),
    "cpt": Facts("[prompt + its bounded change; x]", "2 * num_virtual_tokens * hidden"),
    "deft": Facts("(I - P) W + Q R,  P the projection onto Q", "r * (in + out)"),
    "delora": Facts("W + lambda ||W|| / r sum_i b_i a_i / (||b_i|| ||a_i||)", "r * (in + out) + 1"),
    "fourierft": Facts("W + alpha Re(inverse Fourier transform of few coefficients)", "n_frequency"),
    "frod": Facts("U (S + diag(lambda)) V^T,  S sparse, U and V fixed and shared", "in + int(sparse_rate * in * in)"),
    "glora": Facts("(W + W A + B) x + b + C W + D b + E", "low-rank or vector parts A to E"),
    "gralora": Facts("W + k x k blocks, each with a B A of its own", "r * (in + out)"),
    "hira": Facts("W + W * (B A)  element by element", "r * (in + out)"),
    "hra": Facts("W prod_i (I - 2 u_i u_i^T)", "r * in"),
    "ia3": Facts("l * (W x),  or W (l * x) in feed-forward layers", "out"),
    "lily": Facts("W x + sum_e g_e(x) B_e A x,  A and B_e shared between layers", "shared experts and their routers"),
    "ln_tuning": Facts("w * n(x) + b,  both learned", "the norms' weights and biases"),
    "loha": Facts("W + alpha / r (B1 A1) * (B2 A2)  element by element", "2 * r * (in + out)"),
    "lokr": Facts("W + alpha / r C kron (B A)", "by how in and out factor"),
    "lora": Facts("W + alpha / r B A,  B = 0 at the start", "r * (in + out)"),
    "miss": Facts("W x + D times the sum of the input's shards", "r * out"),
    "multitask_prompt_tuning": Facts(
        "[P * (u_t v_t^T); x]  for task t",
        "num_virtual_tokens * hidden + num_tasks * num_ranks * (num_virtual_tokens + hidden)",
    ),
    "oft": Facts("R W,  R block-diagonal and orthogonal (Cayley)", "in * (oft_block_size - 1) // 2"),
    "osf": Facts(
        "U_h S_h V_h + U_l S_l V_l,  the low part trains at right angles to the high one", "the low singular part"
    ),
    "p_tuning": Facts("[mlp(e); x]", "a prompt and the network that makes it"),
    "peanut": Facts("W + a small network of W", "2 * r * out"),
    "poly": Facts("W + sum_k alpha_tk B_k A_k  for task t", "n_skills * (r * (in + out) + n_tasks * n_splits)"),
    "prefix_tuning": Facts("attention(x) over trained keys and values too", "2 * layers * num_virtual_tokens * hidden"),
    "prompt_tuning": Facts("[P; x]", "num_virtual_tokens * hidden"),
    "psoft": Facts("W + B (R - I) A,  B A W's principal part, R orthogonal", "r * (r - 1) // 2 + 2 * r"),
    "pvera": Facts("W + diag(b) B diag(d) A,  d drawn around learned means", "2 * r + out"),
    "randlora": Facts(
        "W + sum_i B_i diag(l_i) A diag(g_i),  A and B_i fixed", "min(in, out) // r * (r + min(in, out))"
    ),
    "road": Facts("R W x,  R rotates and scales pairs of outputs", "out"),
    "shadow": Facts("a small model beside the base refines its hidden states", "the small model"),
    "shira": Facts("W + scatter(values)", "r * (in + out)"),
    "supertuning": Facts("W + scatter(values)  at the largest |W|", "int((1 - sparsity) * in * out)"),
    "tinylora": Facts("W + B (sum_i v_i P_i) A,  B A W's principal part, P_i fixed", "u"),
    "trainable_tokens": Facts("rows of the embedding, learned", "hidden a token"),
    "unilora": Facts("all A and B are one learned vector, projected by a fixed map", "theta_d_length"),
    "vblora": Facts(
        "B A of sub-vectors, each a mixture of the top k of a shared bank",
        "num_vectors * (r * (in + out) // vector_length + vector_length)",
    ),
    "vera": Facts("W + diag(b) B diag(d) A,  A and B fixed and shared", "r + out"),
    "waveft": Facts("W + inverse wavelet transform of few coefficients", "n_frequency"),
    "xlora": Facts("sum_k g_k(x) of trained LoRAs", "the gates"),
}
