"""Completion for shells, made from the verbs. Pure text: what is printed is to be read by bash, zsh or fish.

Names of domains and devices are asked for when they are needed. They come from outside, and no shell evaluates them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from aiovirt.cli.parser import COMMON, VERSION
from aiovirt.cli.verb import Argument, Verb

__all__ = ["SHELLS"]

_ASKED: Final = {"domain": "list --all --name", "device": "nodedev-list -q"}
"""kind of words -> the verb that prints them, one a line."""


def _options(arguments: Iterable[Argument]) -> list[str]:
    return [name for each in arguments if not each.is_positional for name in each.names if each.keywords["help"] != "==SUPPRESS=="]


def _valued() -> str:
    """The common options that take a value, as patterns of a shell's case."""
    return "|".join(name for each in COMMON if "action" not in each.keywords for name in each.names)


def _kind(verb: Verb) -> str:
    """What its first words are."""
    return next((each.words for each in verb.arguments if each.is_positional and each.words), "")


def _bash(verbs: Mapping[str, Verb]) -> str:
    cases = "\n".join(f"        {each.name}) words='{' '.join(_options(each.arguments))}' kind={_kind(each)} ;;" for each in verbs.values())
    asks = "\n".join(f"        {kind}) ask=({words}) ;;" for kind, words in _ASKED.items())
    return f"""# bash completion for aiovirt; source <(aiovirt completion bash)
_aiovirt() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} verb= words= kind= at=1 name
    local -a host=() ask=()
    while ((at < COMP_CWORD)); do
        case ${{COMP_WORDS[at]}} in
            -c|--connect) host=(-c "${{COMP_WORDS[at+1]}}"); ((at++)) ;;
            {_valued()}) ((at++)) ;;
            -*) ;;
            *) [[ $verb ]] || verb=${{COMP_WORDS[at]}} ;;
        esac
        ((at++))
    done
    COMPREPLY=()
    case $verb in
        '') words='{" ".join(verbs)} {" ".join(_options([VERSION]))}' ;;
{cases}
    esac
    [[ $verb && $kind == verb ]] && words+=' {" ".join(verbs)}'
    [[ $kind == file ]] && compopt -o default
    case $kind in
{asks}
    esac
    if [[ $verb && $cur != -* && ${{ask[*]}} ]]; then
        while IFS= read -r name; do
            [[ $name && $name == "$cur"* ]] && COMPREPLY+=("$(printf %q "$name")")
        done < <(aiovirt "${{host[@]}}" --timeout 2 "${{ask[@]}}" 2>/dev/null)
        return
    fi
    COMPREPLY=($(compgen -W "$words {" ".join(_options(COMMON))}" -- "$cur"))
}}
complete -F _aiovirt aiovirt"""


def _zsh(verbs: Mapping[str, Verb]) -> str:
    cases = "\n".join(
        f"        {each.name}) options=({' '.join(_options(each.arguments))}) kind={_kind(each)} ;;" for each in verbs.values()
    )
    asks = "\n".join(f"        {kind}) ask=({words}) ;;" for kind, words in _ASKED.items())
    described = "\n".join(f"        {_quoted(f'{each.name}:{each.text}')}" for each in verbs.values())
    return f"""#compdef aiovirt
# zsh completion for aiovirt; aiovirt completion zsh >~/.zfunc/_aiovirt, or source <(aiovirt completion zsh)
_aiovirt() {{
    local verb kind at=2
    local -a host ask options verbs names
    while ((at < CURRENT)); do
        case $words[at] in
            -c|--connect) host=(-c $words[at+1]); ((at++)) ;;
            {_valued()}) ((at++)) ;;
            -*) ;;
            *) [[ -n $verb ]] || verb=$words[at] ;;
        esac
        ((at++))
    done
    verbs=(
{described}
    )
    case $verb in
        '') options=({" ".join(_options([VERSION]))}) kind=verb ;;
{cases}
    esac
    case $kind in
{asks}
    esac
    if [[ $PREFIX == -* ]]; then
        compadd -- $options {" ".join(_options(COMMON))}
    elif [[ $kind == verb ]]; then
        _describe verb verbs
    elif [[ $kind == file ]]; then
        _files
    elif (($#ask)); then
        names=(${{(f)"$(aiovirt $host --timeout 2 $ask 2>/dev/null)"}})
        compadd -- $names
    fi
}}
if [[ $funcstack[1] == _aiovirt ]]; then _aiovirt; else compdef _aiovirt aiovirt; fi"""


def _fish(verbs: Mapping[str, Verb]) -> str:
    lines = [
        "# fish completion for aiovirt; aiovirt completion fish >~/.config/fish/completions/aiovirt.fish",
        f"""function __aiovirt_verb
    set -l words (commandline -opc)[2..-1]
    while set -q words[1]
        switch $words[1]
            case {" ".join(_valued().split("|"))}
                set -e words[1]
            case '-*'
            case '*'
                echo $words[1]
                return
        end
        set -e words[1]
    end
end
function __aiovirt_host
    set -l words (commandline -opc)
    for option in -c --connect
        if set -l at (contains -i -- $option $words)
            printf '%s\\n' -c $words[(math $at + 1)]
            return
        end
    end
end
complete -c aiovirt -f""",
        *(f"complete -c aiovirt {_fish_option(each)}" for each in (*COMMON, VERSION)),
    ]
    for verb in verbs.values():
        lines.append(f"complete -c aiovirt -n 'test -z (__aiovirt_verb)' -a {verb.name} -d {_quoted(verb.text)}")
        when = f"""-n 'test "$(__aiovirt_verb)" = {verb.name}'"""
        options = [each for each in verb.arguments if not each.is_positional and each.keywords["help"] != "==SUPPRESS=="]
        lines += [f"complete -c aiovirt {when} {_fish_option(each)}" for each in options]
        kind = _kind(verb)
        if kind in _ASKED:
            lines.append(f"complete -c aiovirt {when} -a '(aiovirt (__aiovirt_host) --timeout 2 {_ASKED[kind]} 2>/dev/null)'")
        elif kind == "verb":
            lines.append(f"complete -c aiovirt {when} -a '{' '.join(verbs)}'")
        elif kind == "file":
            lines.append(f"complete -c aiovirt {when} -F")
    return "\n".join(lines)


def _fish_option(argument: Argument) -> str:
    names = [f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in argument.names]
    choices = argument.keywords.get("choices")
    takes = f" -x -a '{' '.join(choices)}'" if choices else "" if "action" in argument.keywords else " -x"
    return f"{' '.join(names)}{takes} -d {_quoted(argument.keywords['help'])}"


def _quoted(text: str) -> str:
    r"""In single quotes, for zsh and fish."""
    return "'" + text.replace("\\", "\\\\").replace("'", "'\\''") + "'"


SHELLS: Final[dict[str, Callable[[Mapping[str, Verb]], str]]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
"""shell -> what makes its completion of the verbs."""
