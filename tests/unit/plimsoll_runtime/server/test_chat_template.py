import json

import pytest

from plimsoll_runtime.server.chat_template import ChatTemplate, ChatTemplateError

USER = [{"role": "user", "content": "<b>hi</b> & 'bye' ✓"}]


def test_renders_messages_special_tokens_and_the_generation_prompt() -> None:
    template = ChatTemplate(
        "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}] {{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    special = {"bos_token": "<s>"}
    assert template.render(USER, special) == "<s>[user] <b>hi</b> & 'bye' ✓[assistant]"
    assert template.render(USER, special, add_generation_prompt=False).endswith("✓")


def test_blocks_leave_no_blank_lines_as_in_transformers() -> None:
    template = ChatTemplate("{% if true %}\n  {% if true %}\nx\n  {% endif %}\n{% endif %}\n")
    assert template.render(USER, {}) == "x\n"


def test_tojson_is_json_without_html_escapes() -> None:
    rendered = ChatTemplate("{{ messages[0].content | tojson }}").render(USER, {})
    assert json.loads(rendered) == USER[0]["content"]
    assert "<b>" in rendered


def test_loop_controls_and_time_are_there() -> None:
    template = ChatTemplate(
        "{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}"
        "{{ strftime_now('%Y') }}"
    )
    assert template.render(USER, {})[:2] == "01"
    assert len(template.render(USER, {})) == 6


def test_what_a_template_raises_is_shown_and_cut() -> None:
    template = ChatTemplate("{{ raise_exception('roles must alternate ' ~ 'x' * 1000) }}")
    with pytest.raises(ChatTemplateError, match=r"^roles must alternate x+$") as caught:
        template.render(USER, {})
    assert len(str(caught.value)) == 300


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.__init__.__globals__ }}",
        "{{ raise_exception.__globals__['json'] }}",
        "{{ messages.append({}) }}",
        "{{ messages[0].update(role='system') }}",
        "{{ range(10000000) | list }}",
        "{{ nothing.at.all }}",
        "{{ 1 / 0 }}",
        "{{ messages[0].content + 1 }}",
        "{% include 'other' %}",
    ],
)
def test_templates_that_reach_out_or_fail_are_refused(source: str) -> None:
    with pytest.raises(ChatTemplateError):
        ChatTemplate(source).render(USER, {})


def test_a_template_that_does_not_compile_says_where() -> None:
    with pytest.raises(ValueError, match="line 2"):
        ChatTemplate("ok\n{% if %}")


def test_arguments_cannot_replace_messages_or_special_tokens() -> None:
    template = ChatTemplate("{{ bos_token }}{{ messages | length }}{{ thinking }}")
    extra = {"bos_token": "!", "messages": "!", "thinking": "on"}
    assert template.render(USER, {"bos_token": "<s>"}, extra=extra) == "<s>1on"
