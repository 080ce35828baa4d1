"""What the tiny model is: its Llama configuration, special tokens and chat template."""

from typing import Any

BOS, EOS, SYSTEM, USER, ASSISTANT, END = range(6)
SPECIAL_TOKENS = ("<|bos|>", "<|eos|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")

VOCAB_SIZE = 2048
MAX_POSITIONS = 2048

# Query and key-value heads divide by 2 and 4, so that the model can be split over
# as many ranks.
CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 32,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "max_position_embeddings": MAX_POSITIONS,
    "tie_word_embeddings": True,
    "attention_bias": False,
    "mlp_bias": False,
    "attention_dropout": 0.0,
    "initializer_range": 0.02,
    "bos_token_id": BOS,
    "eos_token_id": [END, EOS],
    "pad_token_id": EOS,
    "use_cache": True,
    "torch_dtype": "bfloat16",
}

GENERATION_CONFIG: dict[str, Any] = {
    "bos_token_id": BOS,
    "eos_token_id": [END, EOS],
    "pad_token_id": EOS,
}

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('role must be system, user or assistant, not ' ~ message['role']) }}"
    "{% endif %}"
    "{{ '<|' ~ message['role'] ~ '|>' }}"
    "{% if message['content'] is string %}{{ message['content'] | trim }}"
    "{% else %}{{ message['content'] | map(attribute='text') | join | trim }}{% endif %}"
    "{{ '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

TOKENIZER_CONFIG: dict[str, Any] = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "model_max_length": MAX_POSITIONS,
    "bos_token": SPECIAL_TOKENS[BOS],
    "eos_token": SPECIAL_TOKENS[END],
    "pad_token": SPECIAL_TOKENS[EOS],
    "additional_special_tokens": [SPECIAL_TOKENS[i] for i in (SYSTEM, USER, ASSISTANT)],
    "clean_up_tokenization_spaces": False,
    "chat_template": CHAT_TEMPLATE,
}
