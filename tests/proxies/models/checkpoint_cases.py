"""Tiny random checkpoints of `transformers`, made by configuration."""

import torch

VOCABULARY = 131
DECODER = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 1,
}
ENCODER = {key: value for key, value in DECODER.items() if key != "num_key_value_heads"}
GPT2 = {"vocab_size": VOCABULARY, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32, "pad_token_id": 1}
SEQ2SEQ = {
    "vocab_size": VOCABULARY,
    "d_model": 16,
    "decoder_layers": 1,
    "encoder_layers": 1,
    "decoder_attention_heads": 2,
    "encoder_attention_heads": 2,
    "decoder_ffn_dim": 24,
    "encoder_ffn_dim": 24,
    "max_position_embeddings": 32,
}
EXPERTS = {"num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 12}


def seeded(kind, config, seed=0):
    """A model of a configuration, its parameters away from 0 and 1, in float32 and eval mode."""
    torch.manual_seed(seed)
    model = kind(config).float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return model


def save(model, folder):
    model.save_pretrained(folder)
    return folder


def vit(folder, *, size=8, channels=3, labels=("cat", "dog"), patch=4):
    """A ViT for images of size x size with these labels."""
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        image_size=size,
        patch_size=patch,
        num_channels=channels,
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
    )
    return save(seeded(ViTForImageClassification, config), folder)
