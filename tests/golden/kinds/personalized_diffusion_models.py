"""Golden cases of DiffuseKronA beyond its layer: whole networks, batches, losses, metrics, keys."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from domains.personalized_diffusion import metrics
from domains.personalized_diffusion.data import photos
from domains.personalized_diffusion.model import losses
from domains.personalized_diffusion.model.methods import TEXT_PROJECTIONS, krona
from domains.personalized_diffusion.official import processor_keys as official
from suite import adapters
from suite.adapters import scale as set_strength
from tests.golden.registry import Case, kind


def close(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float) -> None:
    torch.testing.assert_close(ours, theirs.to(ours.dtype), rtol=0, atol=tolerance)


def whole_network(case: Case) -> None:
    from diffusers import UNet2DConditionModel

    tensors, config = case.tensors(), case.config
    unet = UNet2DConditionModel(**config["unet_config"]).eval()
    base = {k.removeprefix("weights/base/"): v for k, v in tensors.items() if k.startswith("weights/base/")}
    unet.load_state_dict(base)
    x = {k.removeprefix("input/"): v for k, v in tensors.items() if k.startswith("input/")}
    extra = {"added_cond_kwargs": {k: x[k] for k in ("text_embeds", "time_ids")}} if "time_ids" in x else {}

    def run() -> torch.Tensor:
        return unet(x["sample"], x["timestep"], x["encoder_hidden_states"], **extra).sample

    with torch.no_grad():
        close(run(), tensors["output/no_adapter"], 1e-4)
    adapter = {k.removeprefix("weights/"): v for k, v in tensors.items() if k.startswith("weights/unet.")}
    official.attach(unet, official.parse(adapter)["unet"])
    assert adapters.count(unet).trainable == config["adapter_params"]
    set_strength(unet, 0.5)
    with torch.no_grad():
        close(run(), tensors["output/scale0.5"], 1e-4)
    set_strength(unet, 1.0)
    output = run()
    close(output, tensors["output/scale1.0"], 1e-4)
    loss = functional.mse_loss(output, x["target"])
    close(loss, tensors["output/mse_loss"], 1e-4)
    loss.backward()
    wanted = {k.removeprefix("output/grad/"): v for k, v in tensors.items() if k.startswith("output/grad/")}
    for name, layer in unet.named_modules():
        for half, part in (("down", "a"), ("up", "b")):
            key = official.key_of("unet", name, half) if hasattr(layer, "settings") else ""
            if key in wanted:
                gradient = layer.tensor(part, "default").grad
                gradient = gradient.T if half == "down" else gradient
                expected = wanted.pop(key)
                assert float((gradient - expected).abs().max()) <= 1e-4 * float(expected.abs().max()), key
    assert not wanted
    written = official.to_official(unet)
    assert written.keys() == adapter.keys() and all(torch.equal(written[k], adapter[k]) for k in adapter)
    adapters.merge(unet)
    with torch.no_grad():
        close(run(), tensors["output/scale1.0"], 1e-4)


@kind("personalized_diffusion/unet_sd_small")
def sd(case: Case) -> None:
    whole_network(case)


@kind("personalized_diffusion/unet_sdxl_small")
def sdxl(case: Case) -> None:
    whole_network(case)


@kind("personalized_diffusion/lokr")
def lokr(case: Case) -> None:
    """KronA of the paper's layout is LoKr with both factors full: the same numbers, whatever the factors."""
    from torch import nn

    tensors = case.tensors()
    for name in ("peft0", "peft1"):
        sizes = case.config[name]
        w1, w2, x = tensors[f"weights/{name}/lokr_w1"], tensors[f"weights/{name}/lokr_w2"], tensors[f"input/{name}/x"]
        model = nn.Sequential(nn.Linear(sizes["in_features"], sizes["out_features"], bias=False))
        base = next(
            (v for k, v in tensors.items() if k.startswith(f"weights/{name}/") and "lokr" not in k and v.dim() == 2)
        )
        model[0].weight.data.copy_(base)
        bias = next((v for k, v in tensors.items() if k.startswith(f"weights/{name}/") and v.dim() == 1), None)
        if bias is not None:
            model[0].bias = nn.Parameter(bias)
        adapters.attach(model, "krona", targets=["0"], a1=sizes["a1"], a2=sizes["a2"])
        with torch.no_grad():
            model[0].tensor("a", "default").copy_(w1)
            model[0].tensor("b", "default").copy_(w2)
            close(model(x), tensors[f"output/{name}/y"], 1e-5)
            close(model[0].get_delta_weight("default"), tensors[f"output/{name}/delta"], 1e-5)
            adapters.merge(model)
            close(model[0].weight, tensors[f"output/{name}/merged_weight"], 1e-5)
    from suite.adapters.methods.reparameterized.krona import kronecker_product

    w1, w2 = tensors["weights/lyco_full/lokr_w1"], tensors["weights/lyco_full/lokr_w2"]
    eye = torch.eye(w1.shape[1] * w2.shape[1])
    close(kronecker_product(eye, w1, w2).T, tensors["output/lyco_full/diff"], 1e-5)
    close(kronecker_product(tensors["input/lyco_full/x"], w1, w2), tensors["output/lyco_full/bypass"], 1e-5)
    low = case.config["lyco_lowrank"]
    product = tensors["weights/lyco_lowrank/lokr_w2_a"] @ tensors["weights/lyco_lowrank/lokr_w2_b"]
    delta = kronecker_product(eye, tensors["weights/lyco_lowrank/lokr_w1"], product).T * low["alpha"] / low["rank"]
    close(delta, tensors["output/lyco_lowrank/diff_alpha1"], 1e-5)


@kind("personalized_diffusion/dreambooth_batch")
def batch(case: Case) -> None:
    from diffusers import DDPMScheduler

    tensors, config = case.tensors(), case.config
    cut = []
    for number, given in enumerate(config["images"]):
        image = Image.fromarray(tensors[f"input/instance_{number}"].numpy(), given["mode"])
        stored, exif = io.BytesIO(), Image.Exif()
        if given["exif_orientation"]:
            exif[0x0112] = given["exif_orientation"]
        image.save(stored, "PNG", exif=exif)
        from PIL import ImageOps

        shown = photos.flatten(ImageOps.exif_transpose(Image.open(stored)), "official")
        pixels, _ = photos.square(shown, config["size"], center=config["center_crop"])
        close(pixels, tensors[f"output/instance_pixels_{number}"], 2e-2)
        cut.append(pixels)
    prior = photos.square(Image.fromarray(tensors["input/class_0"].numpy()), config["size"], center=True)[0]
    wanted = tensors["output/prior_batch_pixels"]
    close(torch.stack([*cut[:2], prior, prior]), wanted, 2e-2)
    crop = photos.Crop(0, 0, (1024, 1024))
    assert list(crop.time_ids(1024)) == tensors["output/sdxl_add_time_ids_1024"][0].tolist()
    for short, name in (("eps", "epsilon"), ("v", "v_prediction")):
        scheduler = DDPMScheduler(
            beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, prediction_type=name
        )
        latents, noise = tensors[f"input/{short}/latents"], tensors[f"input/{short}/noise"]
        steps, prediction = tensors[f"input/{short}/timesteps"], tensors[f"input/{short}/model_pred"]
        close(scheduler.add_noise(latents, noise, steps), tensors[f"output/{short}/noisy"], 1e-6)
        target = losses.target_of(scheduler, latents, noise, steps)
        close(target, tensors[f"output/{short}/target"], 1e-6)
        error = losses.denoising_loss(prediction, target)
        close(error.mean(), tensors[f"output/{short}/loss_plain"], 1e-6)
        for weight in (0.3, 1.0):
            whole, instance, kept = losses.prior_preservation(error, weight)
            close(whole, tensors[f"output/{short}/loss_prior_preservation_w{weight}"], 1e-6)
            close(instance, tensors[f"output/{short}/loss_instance"], 1e-6)
            close(kept, tensors[f"output/{short}/loss_prior"], 1e-6)


@kind("personalized_diffusion/metrics")
def scores(case: Case) -> None:
    given, wanted = case.json()["input"], case.json()["output"]
    found = metrics.subject_scores(
        given["clip_real"], given["clip_gen"], given["clip_text"], given["dino_real"], given["dino_gen"]
    )
    for name in ("clip_i", "dino", "clip_t"):
        assert abs(getattr(found, name) - wanted[name]) < 1e-9
        assert np.allclose([row[name] for row in found.prompts], wanted[f"{name}_per_prompt"], atol=1e-9, rtol=0)
    assert abs(found.div - wanted["div_mean_pairwise_dino_same_prompt"]) < 1e-9


SDXL = {
    "block_out_channels": [320, 640, 1280],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "transformer_layers_per_block": [1, 2, 10],
    "cross_attention_dim": 2048,
    "attention_head_dim": [5, 10, 20],
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}


@kind("personalized_diffusion/keys")
def keys(case: Case) -> None:
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    wanted: dict[str, dict[str, tuple[str, str]]] = {}
    for row in case.rows():
        wanted.setdefault(row["model"], {})[row["key"]] = (row["shape"], row["dtype"])
    text = CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12)
    with torch.device("meta"):
        models = {
            "sdxl": UNet2DConditionModel(**SDXL),
            "sd15": UNet2DConditionModel(cross_attention_dim=768),
            "sd21_base": UNet2DConditionModel(
                cross_attention_dim=1024, attention_head_dim=[5, 10, 20, 20], use_linear_projection=True
            ),
            "sd15_text_encoder": CLIPTextModel(text),
        }
        for name, model in models.items():
            component = "text_encoder" if name.endswith("text_encoder") else "unet"
            names = {"names": TEXT_PROJECTIONS} if component == "text_encoder" else {}
            adapters.attach(model, krona((4, 64), layout="official", **names))
            state = official.to_official(model, component)
            if component == "text_encoder":
                # The files name CLIP's inner module, which transformers 5 made the model itself.
                state = {
                    key if ".text_model." in key else key.replace("text_encoder.", "text_encoder.text_model.", 1): value
                    for key, value in state.items()
                }
            found = {
                key: ("x".join(map(str, value.shape)), str(value.dtype).removeprefix("torch."))
                for key, value in state.items()
            }
            assert found == wanted[name], name
            trainable = {"sdxl": 3_874_560, "sd15": 398_048, "sd21_base": 423_008, "sd15_text_encoder": 122_880}
            assert adapters.count(model).trainable == trainable[name]
