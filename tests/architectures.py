"""Small models of known architectures, made without a download, and what one should decide of each.

`EXPECTED` was written by hand from the architectures, by names: what `plan(model, 'muon')` should
find. A star stands for anything, and the first pattern that fits counts.
"""
from __future__ import annotations

import warnings

with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    import transformers as T

T.logging.set_verbosity_error()
TEXT = dict(vocab_size=53, hidden_size=16, num_hidden_layers=2)
HEADS = dict(num_attention_heads=4, num_key_value_heads=2, intermediate_size=24)

MODELS = {
    'GPT-2': lambda: T.GPT2LMHeadModel(T.GPT2Config(
        vocab_size=53, n_positions=17, n_embd=12, n_layer=2, n_head=2)),
    'Llama': lambda: T.LlamaForCausalLM(T.LlamaConfig(**TEXT, **HEADS)),
    'BERT': lambda: T.BertForMaskedLM(T.BertConfig(
        **TEXT, num_attention_heads=2, intermediate_size=24, max_position_embeddings=17)),
    'ViT': lambda: T.ViTForImageClassification(T.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        image_size=8, patch_size=4, num_labels=5)),
    'Mixtral': lambda: T.MixtralForCausalLM(T.MixtralConfig(
        **TEXT, **HEADS, num_local_experts=4)),
    'Mamba': lambda: T.MambaForCausalLM(T.MambaConfig(**TEXT, state_size=4, time_step_rank=3)),
    'T5': lambda: T.T5ForConditionalGeneration(T.T5Config(
        vocab_size=53, d_model=16, d_kv=4, d_ff=24, num_layers=2, num_heads=4)),
    'ResNet': lambda: T.ResNetForImageClassification(T.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 2], layer_type='basic', num_labels=5))}

MATRIX, NORM = ('hidden matrix', 'Muon', True), ('norm', 'AdamW', False)
BIAS, OTHER = ('bias', 'AdamW', False), ('other', 'AdamW', False)
EMBEDDING, HEAD = ('embedding', 'AdamW', True), ('output head', 'AdamW', True)
POSITION = 'position or token', 'AdamW', False

# From names to the role, the rule beside Muon, and if it decays
EXPECTED = {
    'GPT-2': {'*.ln_*': NORM, '*.bias': BIAS, '*.wte.weight': EMBEDDING, '*.wpe.weight': EMBEDDING,
              '*.attn.c_attn.weight': MATRIX, '*.attn.c_proj.weight': MATRIX,
              '*.mlp.c_fc.weight': MATRIX, '*.mlp.c_proj.weight': MATRIX},
    'Llama': {'*norm.weight': NORM, '*.embed_tokens.weight': EMBEDDING, 'lm_head.weight': HEAD,
              '*.self_attn.?_proj.weight': MATRIX, '*.mlp.*_proj.weight': MATRIX},
    'BERT': {'*.LayerNorm.*': NORM, '*.bias': BIAS, '*_embeddings.weight': EMBEDDING,
             '*.attention.self.*.weight': MATRIX, '*.dense.weight': MATRIX},
    'ViT': {'*.layernorm*': NORM, '*.bias': BIAS, '*.cls_token': POSITION,
            '*.position_embeddings': POSITION, 'classifier.weight': HEAD,
            '*.projection.weight': ('input convolution', 'AdamW', True),
            '*.attention.?_proj.weight': MATRIX, '*.mlp.fc?.weight': MATRIX},
    'Mixtral': {'*norm.weight': NORM, '*.embed_tokens.weight': EMBEDDING, 'lm_head.weight': HEAD,
                '*.self_attn.?_proj.weight': MATRIX, '*.mlp.gate.weight': ('router', 'Muon', True),
                '*.experts.*': ('experts', 'Muon', True)},
    'Mamba': {'*norm*.weight': NORM, '*.bias': BIAS, '*.embeddings.weight': EMBEDDING,
              '*.A_log': OTHER, '*.D': OTHER, '*.*_proj.weight': MATRIX,
              '*.conv1d.weight': ('depthwise convolution', 'AdamW', True)},
    'T5': {'*norm.weight': NORM, 'shared.weight': EMBEDDING, '*_attention_bias.weight': POSITION,
           '*Attention.?.weight': MATRIX, '*.w?.weight': MATRIX},
    'ResNet': {'*.normalization.*': NORM, '*.bias': BIAS, 'classifier.1.weight': HEAD,
               'resnet.embedder.*.weight': ('input convolution', 'AdamW', True),
               '*.convolution.weight': ('convolution', 'Muon', True)}}

# How matrices lie in tensors: by the architecture, and the last parts of a name
STACKS = {('GPT-2', 'c_attn'): 'i (n=3 o) -> n o i', ('GPT-2', 'c_proj'): 'i o -> o i',
          ('GPT-2', 'c_fc'): 'i o -> o i', ('ResNet', 'convolution'): 'o ... -> o (...)',
          ('Mixtral', 'gate_up_proj'): 'e (n=2 o) i -> e n o i',
          ('Mixtral', 'down_proj'): 'e o i -> e o i'}
