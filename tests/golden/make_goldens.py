#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Sluice developers
"""Makes the goldens of this folder: small models trained for 20 steps in float64.

    python make_goldens.py [FOLDER]

Needs torch and transformers. The models are written out here, formula by formula, and
then held against transformers' GPT2LMHeadModel and LlamaForCausalLM: loss and every
gradient of the first batch must agree, or nothing is written.

NAME.json  the shape, the run, and per step loss and gradient norm (before clipping)
NAME.bin   final weights, float32 little endian, in the order of "tensors"

Initial weights and tokens are functions of (name, index), the same few integer
operations here and in tests/support/golden.cpp, so that they need no files.
"""

import json
import math
import pathlib
import sys

import numpy as np
import torch

STEPS = 20
MASK = (1 << 64) - 1


def bits(name, indices):
    """64 random bits for each index of the stream `name`: FNV-1a, then splitmix64."""
    stream = 0xCBF29CE484222325
    for byte in name.encode():
        stream = ((stream ^ byte) * 0x100000001B3) & MASK
    with np.errstate(over="ignore"):
        z = np.uint64(stream) + (indices.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def initial(name, shape):
    """Uniform around the centre; exactly representable steps, then rounded to float32."""
    count = math.prod(shape)
    u = (bits(name, np.arange(count)) >> np.uint64(40)).astype(np.float64) / (1 << 24) - 0.5
    norm_scale = len(shape) == 1 and not name.endswith(".bias")
    value = (1.0 if norm_scale else 0.0) + 0.25 * u
    return torch.from_numpy(value.astype(np.float32).astype(np.float64).reshape(shape))


def batch(run, vocabulary, step):
    """ids and targets [global_batch, length]; about one target in thirteen is masked (-1)."""
    sequences, length = run["global_batch"], run["length"]
    index = np.arange(sequences * (length + 1)) + step * sequences * (length + 1)
    draw = bits("tokens", index)
    first, second = draw % np.uint64(vocabulary), (draw >> np.uint64(32)) % np.uint64(vocabulary)
    tokens = np.minimum(first, second).astype(np.int64).reshape(sequences, length + 1)
    masked = (bits("mask", index) % np.uint64(13) == 0).reshape(sequences, length + 1)
    targets = np.where(masked, -1, tokens)[:, 1:]
    return torch.from_numpy(tokens[:, :-1].copy()), torch.from_numpy(targets.copy())


# --- The models ---


def gpt2_shapes(s):
    c, f = s["width"], s["ffn_width"]
    shapes = {"transformer.wte.weight": (s["vocab"], c), "transformer.wpe.weight": (s["context"], c)}
    for i in range(s["layers"]):
        p = f"transformer.h.{i}."
        shapes |= {p + "ln_1.weight": (c,), p + "attn.c_attn.weight": (c, 3 * c),
                   p + "attn.c_proj.weight": (c, c), p + "ln_2.weight": (c,),
                   p + "mlp.c_fc.weight": (c, f), p + "mlp.c_proj.weight": (f, c)}
        if s["bias"]:
            shapes |= {p + "ln_1.bias": (c,), p + "attn.c_attn.bias": (3 * c,),
                       p + "attn.c_proj.bias": (c,), p + "ln_2.bias": (c,),
                       p + "mlp.c_fc.bias": (f,), p + "mlp.c_proj.bias": (c,)}
    shapes["transformer.ln_f.weight"] = (c,)
    if s["bias"]:
        shapes["transformer.ln_f.bias"] = (c,)
    if not s["tied"]:
        shapes["lm_head.weight"] = (s["vocab"], c)
    return shapes


def llama_shapes(s):
    c, f = s["width"], s["ffn_width"]
    q, kv = s["heads"] * s["head_width"], s["kv_heads"] * s["head_width"]
    shapes = {"model.embed_tokens.weight": (s["vocab"], c)}
    for i in range(s["layers"]):
        p = f"model.layers.{i}."
        shapes |= {p + "input_layernorm.weight": (c,), p + "self_attn.q_proj.weight": (q, c),
                   p + "self_attn.k_proj.weight": (kv, c), p + "self_attn.v_proj.weight": (kv, c),
                   p + "self_attn.o_proj.weight": (c, q), p + "post_attention_layernorm.weight": (c,),
                   p + "mlp.gate_proj.weight": (f, c), p + "mlp.up_proj.weight": (f, c),
                   p + "mlp.down_proj.weight": (c, f)}
        if s["qkv_bias"]:
            shapes |= {p + "self_attn.q_proj.bias": (q,), p + "self_attn.k_proj.bias": (kv,),
                       p + "self_attn.v_proj.bias": (kv,)}
    shapes["model.norm.weight"] = (c,)
    if not s["tied"]:
        shapes["lm_head.weight"] = (s["vocab"], c)
    return shapes


def attention(q, k, v, heads, kv_heads):
    """q [B,S,H*D], k and v [B,S,G*D]; causal."""
    b, s, _ = q.shape
    q = q.view(b, s, heads, -1).transpose(1, 2)
    k = k.view(b, s, kv_heads, -1).transpose(1, 2).repeat_interleave(heads // kv_heads, 1)
    v = v.view(b, s, kv_heads, -1).transpose(1, 2).repeat_interleave(heads // kv_heads, 1)
    scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
    scores = scores.masked_fill(torch.ones(s, s, dtype=torch.bool).triu(1), -math.inf)
    return (scores.softmax(-1) @ v).transpose(1, 2).reshape(b, s, -1)


def gelu(x, form):
    if form == "erf":
        return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def gpt2_logits(w, s, ids):
    bias = lambda name: w[name] if s["bias"] else 0.0

    def norm(x, name):
        centred = x - x.mean(-1, keepdim=True)
        y = centred / (centred.square().mean(-1, keepdim=True) + s["norm_eps"]).sqrt()
        return y * w[name + ".weight"] + bias(name + ".bias")

    linear = lambda x, name: x @ w[name + ".weight"] + bias(name + ".bias")
    x = w["transformer.wte.weight"][ids] + w["transformer.wpe.weight"][: ids.shape[1]]
    for i in range(s["layers"]):
        p = f"transformer.h.{i}."
        q, k, v = linear(norm(x, p + "ln_1"), p + "attn.c_attn").chunk(3, -1)
        x = x + linear(attention(q, k, v, s["heads"], s["heads"]), p + "attn.c_proj")
        x = x + linear(gelu(linear(norm(x, p + "ln_2"), p + "mlp.c_fc"), s["gelu"]), p + "mlp.c_proj")
    head = w["transformer.wte.weight" if s["tied"] else "lm_head.weight"]
    return norm(x, "transformer.ln_f") @ head.T


def llama_logits(w, s, ids):
    def norm(x, name):
        return x / (x.square().mean(-1, keepdim=True) + s["norm_eps"]).sqrt() * w[name + ".weight"]

    def linear(x, name):
        return x @ w[name + ".weight"].T + (w[name + ".bias"] if name + ".bias" in w else 0.0)

    half = s["head_width"] // 2
    frequency = s["rope_theta"] ** (-torch.arange(half, dtype=torch.float64) / half)
    angle = torch.arange(ids.shape[1], dtype=torch.float64)[:, None] * frequency
    cos, sin = angle.cos(), angle.sin()

    def rotate(x, heads):
        b, n, _ = x.shape
        a, c = x.view(b, n, heads, 2, half).unbind(3)
        cs, sn = cos[:, None], sin[:, None]
        return torch.stack((a * cs - c * sn, c * cs + a * sn), 3).reshape(b, n, -1)

    x = w["model.embed_tokens.weight"][ids]
    for i in range(s["layers"]):
        p = f"model.layers.{i}."
        y = norm(x, p + "input_layernorm")
        q = rotate(linear(y, p + "self_attn.q_proj"), s["heads"])
        k = rotate(linear(y, p + "self_attn.k_proj"), s["kv_heads"])
        v = linear(y, p + "self_attn.v_proj")
        x = x + linear(attention(q, k, v, s["heads"], s["kv_heads"]), p + "self_attn.o_proj")
        y = norm(x, p + "post_attention_layernorm")
        gate, up = linear(y, p + "mlp.gate_proj"), linear(y, p + "mlp.up_proj")
        x = x + linear(gate * torch.sigmoid(gate) * up, p + "mlp.down_proj")
    head = w["model.embed_tokens.weight" if s["tied"] else "lm_head.weight"]
    return norm(x, "model.norm") @ head.T


def loss_of(logits, targets):
    """Mean over unmasked targets."""
    log_probability = logits.log_softmax(-1).gather(-1, targets.clamp(min=0)[..., None])[..., 0]
    return -(log_probability * (targets >= 0)).sum() / (targets >= 0).sum()


# --- The run ---


def first_gradients(logits, weights, shape, run):
    ids, targets = batch(run, shape["vocab"], 0)
    loss = loss_of(logits(weights, shape, ids), targets)
    return loss.item(), dict(zip(weights, torch.autograd.grad(loss, list(weights.values()))))


def check_against_transformers(weights, shape, run, loss, gradients):
    import transformers

    tied = shape["tied"]
    if shape["family"] == "gpt2":
        config = transformers.GPT2Config(
            vocab_size=shape["vocab"], n_positions=shape["context"], n_embd=shape["width"],
            n_layer=shape["layers"], n_head=shape["heads"], n_inner=shape["ffn_width"],
            activation_function="gelu_new" if shape["gelu"] == "tanh" else "gelu", resid_pdrop=0,
            embd_pdrop=0, attn_pdrop=0, layer_norm_epsilon=shape["norm_eps"], tie_word_embeddings=tied)
        model = transformers.GPT2LMHeadModel(config)
    else:
        kind = "Qwen2" if shape["qkv_bias"] else "Llama"
        config = getattr(transformers, kind + "Config")(
            vocab_size=shape["vocab"], hidden_size=shape["width"], intermediate_size=shape["ffn_width"],
            num_hidden_layers=shape["layers"], num_attention_heads=shape["heads"],
            num_key_value_heads=shape["kv_heads"], rms_norm_eps=shape["norm_eps"],
            max_position_embeddings=shape["context"], tie_word_embeddings=tied,
            rope_parameters={"rope_type": "default", "rope_theta": shape["rope_theta"]})
        model = getattr(transformers, kind + "ForCausalLM")(config)
    model = model.double().eval()
    missing, unexpected = model.load_state_dict({n: w.detach() for n, w in weights.items()}, strict=False)
    if unexpected or any(not (n.endswith(".bias") or (tied and n == "lm_head.weight")) for n in missing):
        sys.exit(f"names differ from transformers': missing {missing}, unexpected {unexpected}")
    own = dict(model.named_parameters())
    with torch.no_grad():
        for name in missing:
            if name in own and name not in weights and name.endswith(".bias"):
                own[name].zero_()  # transformers' GPT-2 always has biases
    ids, targets = batch(run, shape["vocab"], 0)
    theirs = loss_of(model(ids).logits, targets)
    theirs.backward()
    worst = abs(theirs.item() - loss) / abs(loss)
    for name, gradient in gradients.items():
        worst = max(worst, (own[name].grad - gradient).norm().item() / max(gradient.norm().item(), 1e-30))
    # transformers computes the rotation's angles in float32, whatever the model's type.
    if worst > (1e-9 if shape["family"] == "gpt2" else 1e-6):
        sys.exit(f"differs from transformers by {worst:.1e}")
    return worst


def train(shape, run):
    gpt2 = shape["family"] == "gpt2"
    shapes = (gpt2_shapes if gpt2 else llama_shapes)(shape)
    logits = gpt2_logits if gpt2 else llama_logits
    weights = {n: torch.nn.Parameter(initial(n, s)) for n, s in shapes.items()}
    loss, gradients = first_gradients(logits, weights, shape, run)
    worst = check_against_transformers(weights, shape, run, loss, gradients)

    matrices = [w for w in weights.values() if w.dim() == 2]
    vectors = [w for w in weights.values() if w.dim() == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": run["weight_decay"]}, {"params": vectors, "weight_decay": 0.0}],
        lr=run["lr"], betas=(run["beta1"], run["beta2"]), eps=run["eps"])
    losses, norms = [], []
    for step in range(STEPS):
        ids, targets = batch(run, shape["vocab"], step)
        loss = loss_of(logits(weights, shape, ids), targets)
        optimizer.zero_grad()
        loss.backward()
        limit = run["clip"] if run["clip"] > 0 else math.inf
        norms.append(torch.nn.utils.clip_grad_norm_(list(weights.values()), limit).item())
        losses.append(loss.item())
        optimizer.step()
    first = {n: g.norm().item() for n, g in gradients.items()}
    return losses, norms, first, weights, worst


def configurations():
    gpt2 = dict(family="gpt2", layers=2, width=72, heads=3, kv_heads=3, head_width=24, ffn_width=200,
                vocab=257, context=53, qkv_bias=False, norm_eps=1e-5, rope_theta=10000.0)
    llama = dict(family="llama", layers=2, width=72, heads=6, kv_heads=2, head_width=12, ffn_width=100,
                 vocab=257, context=53, bias=False, norm_eps=1e-6, rope_theta=10000.0, gelu="tanh")
    shapes = {
        "gpt2_tied": gpt2 | dict(tied=True, bias=True, gelu="tanh"),
        "gpt2_untied": gpt2 | dict(tied=False, bias=False, gelu="erf"),
        "llama_tied": llama | dict(tied=True, qkv_bias=False),
        "llama_untied": llama | dict(tied=False, qkv_bias=True),
    }
    run = dict(global_batch=4, length=49, lr=1e-3, beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.1)
    for name, shape in shapes.items():
        yield name + "_clip", shape, run | dict(clip=0.5)
        yield name + "_free", shape, run | dict(clip=0.0)


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else __file__ + "/..").resolve()
    torch.set_num_threads(2)
    for name, shape, run in configurations():
        losses, norms, first, weights, worst = train(shape, run)
        tensors = [{"name": n, "count": w.numel(), "first_gradient_norm": first[n]} for n, w in weights.items()]
        golden = dict(shape=shape, run=run, losses=losses, gradient_norms=norms, tensors=tensors)
        (folder / f"{name}.json").write_text(json.dumps(golden, indent=1) + "\n")
        final = [w.detach().numpy().reshape(-1).astype("<f4") for w in weights.values()]
        (folder / f"{name}.bin").write_bytes(np.concatenate(final).tobytes())
        print(f"{name}: loss {losses[0]:.4f} -> {losses[-1]:.4f}, norm {norms[0]:.3f} -> {norms[-1]:.3f}, "
              f"{worst:.0e} from transformers")


if __name__ == "__main__":
    main()
