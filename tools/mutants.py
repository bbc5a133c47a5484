"""What a mutant is, and which can be made of a file: one change of one place."""

from __future__ import annotations

import ast
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
OTHER: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
LEFT_OUT = (ast.Assign, ast.AugAssign, ast.Expr, ast.Return, ast.Raise, ast.Continue, ast.Break)


@dataclass(frozen=True)
class Mutant:
    """Change `number` of a file, and what it is in words. function: in which it lies, as Watch.calls has it; '' for none."""

    file: str
    number: int
    function: str
    line: int
    what: str


def changes(tree: ast.Module) -> Iterator[tuple[ast.AST, Callable[[], ast.AST]]]:
    """Each place that can be changed, and what changes it within the tree and returns what then stands there."""
    spared = {id(part) for node in ast.walk(tree) for kept in _spared(node) for part in ast.walk(kept)}
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    inner = {id(node) for outer in functions for node in ast.walk(outer) if node is not outer}
    for node in ast.walk(tree):
        if id(node) in spared:
            continue
        if isinstance(node, (ast.BinOp, ast.AugAssign, ast.BoolOp)) and type(node.op) in OTHER:
            yield node, _setter(node, "op", OTHER[type(node.op)]())
        if isinstance(node, ast.Compare):
            for i, operator in enumerate(node.ops):
                yield node, _setter(node, "ops", [*node.ops[:i], OTHER[type(operator)](), *node.ops[i + 1 :]])
        if isinstance(node, ast.Constant) and isinstance(node.value, (bool, int, float)):
            value = not node.value if isinstance(node.value, bool) else node.value + 1
            yield node, _setter(node, "value", value)
        if isinstance(node, (ast.If, ast.IfExp, ast.While)):
            yield node.test, _setter(node, "test", ast.UnaryOp(ast.Not(), node.test), "test")
        if isinstance(node, ast.FunctionDef) and id(node) not in inner:
            yield from _omissions(node)


def _spared(node: ast.AST) -> Iterator[ast.AST]:
    """What tests need not hold: types and what is imported; decorators; an assertion."""
    if isinstance(node, (ast.Import, ast.ImportFrom, ast.Assert)):
        yield node
    for name in ("annotation", "returns"):
        if isinstance(part := getattr(node, name, None), ast.AST):
            yield part
    yield from getattr(node, "decorator_list", ())


def _omissions(function: ast.FunctionDef) -> Iterator[tuple[ast.AST, Callable[[], ast.AST]]]:
    for node in ast.walk(function):
        for name in ("body", "orelse"):
            block: Any = getattr(node, name, None)
            for i, statement in enumerate(block if isinstance(block, list) else ()):
                docstring = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
                if isinstance(statement, LEFT_OUT) and not docstring:
                    yield statement, _replacer(block, i)


def _setter(node: ast.AST, name: str, value: Any, shown: str = "") -> Callable[[], ast.AST]:
    def change() -> ast.AST:
        setattr(node, name, value)
        found = getattr(node, shown) if shown else node
        assert isinstance(found, ast.AST)
        return found

    return change


def _replacer(block: list[ast.stmt], i: int) -> Callable[[], ast.AST]:
    def change() -> ast.AST:
        block[i] = ast.copy_location(ast.Pass(), block[i])
        return block[i]

    return change


def function_at(file: str, source: str, line: int) -> str:
    """The outermost function around a line, as Watch.calls has it; '' where there is none."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.lineno <= line <= (node.end_lineno or 0):
            return f"{file}:{min([node.lineno, *(mark.lineno for mark in node.decorator_list)])}"
    return ""


def changed(source: str, number: int) -> tuple[ast.Module, int, str]:
    """The tree of the source with change `number`; its line, and the change in words."""
    tree = ast.parse(source)
    node, change = list(changes(tree))[number]
    before, line = _first_line(node), getattr(node, "lineno", 0)
    after = _first_line(change())
    return tree, line, f"{before} -> {after}"


def mutated(source: str, number: int) -> tuple[str, int, str]:
    """The source with change `number`; its line, and the change in words."""
    tree, line, words = changed(source, number)
    return ast.unparse(tree) + "\n", line, words


def _first_line(node: ast.AST) -> str:
    return ast.unparse(ast.fix_missing_locations(node)).splitlines()[0][:90]


def draw(files: list[str], count: int, seed: int) -> list[Mutant]:
    """So many mutants, or all there are, each place as likely as any other."""
    sources = {file: (CHECKOUT / file).read_text(encoding="utf-8") for file in files}
    places = [(file, i) for file in files for i in range(len(list(changes(ast.parse(sources[file])))))]
    drawn = random.Random(seed).sample(places, min(count, len(places)))
    found = []
    for file, number in drawn:
        _, line, what = mutated(sources[file], number)
        found.append(Mutant(file, number, function_at(file, sources[file], line), line, what))
    return found
