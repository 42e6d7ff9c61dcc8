"""Pages of the API reference: one for the package and each of its sub-packages, each public name on one of them."""

# pyright: reportMissingImports=false
# pdoc is in the optional extra `docs`.

import importlib
import pkgutil
import re
from collections.abc import Iterator
from typing import get_type_hints
from unittest import mock

import pdoc.doc
import pdoc.docstrings
import pdoc.render
import pdoc.render_helpers

from experiments.reference.formulas import Formulas

BLANK = "\n\n"
DOT = r"(?:\.|</span><span class=\"o\">\.</span><span class=\"n\">)"
PRIVATE_PATH = re.compile(rf"\b(jax|distrax|optax)(?:{DOT}\w+)*{DOT}_\w+(?:{DOT}\w+)*{DOT}(\w+)\b")


def read_modules(package: str) -> dict[str, pdoc.doc.Module]:
    """Reads the package and its sub-packages. What a sub-package documents is left out above it."""
    path = importlib.import_module(package).__path__
    names = [package, *(found.name for found in pkgutil.walk_packages(path, f"{package}.") if found.ispkg)]
    modules = {name: pdoc.doc.Module.from_name(name) for name in names}
    for name, module in reversed(modules.items()):
        below = [other for other in modules.values() if other.modulename.startswith(f"{name}.")]
        elsewhere = {"__version__"}.union(*(other.members for other in below))
        module.members = {
            member: doc for member, doc in module.members.items() if member not in elsewhere and doc.kind != "module"
        }
        module.submodules = [other for other in below if other.modulename.rpartition(".")[0] == name]
        module.docstring += BLANK + "\n".join(map(_contents, module.submodules))
    return modules


def _contents(module: pdoc.doc.Module) -> str:
    """An item of a list of sub-packages: the first paragraph of the docstring, and the names."""
    lines = [f"- `{module.modulename}`: {module.docstring.partition(BLANK)[0]}"]
    if module.members:
        lines.append(", ".join(f"`{name}`" for name in module.members))
    return "  \n  ".join(lines)


def documented(namespace: pdoc.doc.Namespace) -> Iterator[pdoc.doc.Doc]:
    """What a page documents: the module, its classes and functions, and their methods and fields."""
    yield namespace
    for member in namespace.own_members:
        if isinstance(member, pdoc.doc.Class):
            yield from documented(member)
        elif not member.name.startswith("_") or member.name == "__init__":
            yield member


def gather_fields(named_tuple: pdoc.doc.Class) -> None:
    """Leaves the fields of a NamedTuple to its signature and to the "Attributes" of its docstring.

    Raises:
        ValueError: the docstring does not describe a field.
    """
    _, _, attributes = named_tuple.docstring.partition("Attributes:\n")
    for field in named_tuple.obj._fields:
        if not re.search(rf"^\s+{field}: ", attributes, re.MULTILINE):
            raise ValueError(f'Expected `{field}` under "Attributes:" in the docstring of {named_tuple.fullname}.')
        del named_tuple.members[field]
    named_tuple.members["__init__"].docstring = ""
    # pdoc does not find the module of an annotation that is a string.
    named_tuple.obj.__new__.__annotations__.update(get_type_hints(named_tuple.obj))


def build_pages(package: str = "vaepriors_jax") -> dict[str, str]:
    """Builds the pages and the index of their search, by file name."""
    modules, formulas = read_modules(package), Formulas()
    for module in modules.values():
        for doc in documented(module):
            if isinstance(doc, pdoc.doc.Class) and hasattr(doc.obj, "_fields"):
                gather_fields(doc)
            stars = re.sub(r"^(\s+)(\*+\w+):", r"\1\\\2:", doc.docstring, flags=re.MULTILINE)
            doc.docstring = formulas.take_out(stars)
    places = {doc.name: module.modulename for module in modules.values() for doc in module.own_members}
    version = importlib.import_module(package).__version__
    pdoc.render.configure(docformat="google", show_source=False, footer_text=f"{package} {version}")
    sections = [*pdoc.docstrings.GOOGLE_LIST_SECTIONS, "Context"]
    with mock.patch.object(pdoc.docstrings, "GOOGLE_LIST_SECTIONS", sections):
        html = {name: pdoc.render.html_module(module, modules) for name, module in modules.items()}
        search = formulas.put_back_latex(pdoc.render.search_index(modules))
    pages = {
        f"{name.replace('.', '/')}.html": formulas.put_back(link_names(public_paths(page), name, places))
        for name, page in html.items()
    }
    return {"index.html": pdoc.render.html_index(modules), **pages, "search.js": search}


def public_paths(page: str) -> str:
    """Writes types of JAX, distrax and optax as their users do: jax.Array for jax._src.basearray.Array."""
    return PRIVATE_PATH.sub(r"\1.\2", page).replace("jax.Mesh", "jax.sharding.Mesh")


def link_names(page: str, module: str, places: dict[str, str]) -> str:
    """Links each public name in the text of a module's page, such as `elbo` or `vp.elbo`, to where it is documented."""

    def link(match: re.Match[str]) -> str:
        name = match[1].removeprefix("vp.")
        if name not in places:
            return match[0]
        address = pdoc.render_helpers.relative_link(module, places[name])
        return f'<code><a href="{address}#{name}">{match[1]}</a></code>'

    return re.sub(r"<code>([\w.]+)</code>", link, page)
