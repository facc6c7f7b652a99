"""`durable completion`: scripts for shells, made from the parsers."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from durable.cli._context import Context
from durable.cli._exits import ExitCode
from durable.cli._program import parser_for

BASH = """\
# for bash: source <(durable completion bash)
_durable() {{
    local word path=""
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case "$path $word" in
{paths}
        esac
    done
    local words=""
    case "$path" in
{words}
    esac
    COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}"))
    [ ${{#COMPREPLY[@]}} -eq 0 ] && COMPREPLY=($(compgen -f -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -F _durable durable
"""

ZSH = """\
# for zsh: source <(durable completion zsh)
autoload -U +X bashcompinit && bashcompinit
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Give the command its options."""
    parser.add_argument("shell", choices=["bash", "zsh", "fish"])
    parser.set_defaults(run=completion, traceback=False)


async def completion(context: Context) -> ExitCode:
    """Print a script."""
    nodes = [*walk(parser_for(None))]
    shell = context.options.shell
    text = _fish(nodes) if shell == "fish" else _bash(nodes)
    context.out.line((f"{ZSH}{text}" if shell == "zsh" else text).rstrip())
    return ExitCode.OK


def walk(
    parser: argparse.ArgumentParser, path: str = ""
) -> Iterator[tuple[str, argparse.ArgumentParser, str]]:
    """Yield each command with its parser and its line of help; `path` begins with a blank, but for the program itself."""
    help = ""
    yield path, parser, help
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            subs: Any = action  # pyright: ignore[reportUnknownVariableType]
            helps = {one.dest: one.help or "" for one in subs._choices_actions}
            for name, sub in subs.choices.items():
                inner = walk(sub, f"{path} {name}")
                first = next(inner)
                yield first[0], first[1], helps.get(name, "")
                yield from inner


def _flags(parser: argparse.ArgumentParser) -> list[str]:
    return [flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")]


def _below(path: str, paths: list[str]) -> list[str]:
    return [one.rpartition(" ")[2] for one in paths if one.rpartition(" ")[0] == path and one]


def _bash(nodes: list[tuple[str, argparse.ArgumentParser, str]]) -> str:
    paths = [path for path, _, _ in nodes]
    moves = "\n".join(f'            "{path}") path="{path}" ;;' for path in paths if path)
    words = "\n".join(
        f'        "{path}") words="{" ".join(_below(path, paths) + _flags(parser))}" ;;'
        for path, parser, _ in nodes
    )
    return BASH.format(paths=moves, words=words)


def _fish(nodes: list[tuple[str, argparse.ArgumentParser, str]]) -> str:
    lines = ["# for fish: durable completion fish | source"]
    for path, parser, help in nodes:
        outer, _, name = path.rpartition(" ")
        seen = " ".join(f"; and __fish_seen_subcommand_from {one}" for one in outer.split()).removeprefix(
            "; and "
        )
        if name:
            condition = seen or "__fish_use_subcommand"
            lines.append(f"complete -c durable -f -n '{condition}' -a {name} -d {help!r}")
        within = " ".join(f"; and __fish_seen_subcommand_from {one}" for one in path.split()).removeprefix(
            "; and "
        )
        lines += [f"complete -c durable -n '{within or 'true'}' -l {flag[2:]}" for flag in _flags(parser)]
    return "\n".join(lines)
