"""The API reference: every public name once, formulas as MathML, and what makes the build fail."""

import importlib
import re
from pathlib import Path

import pytest

import vaepriors_jax as vp
from experiments.reference.check import find_faults, words_of

pytest.importorskip("pdoc", reason="the extra `docs` is not installed")
pytest.importorskip("latex2mathml", reason="the extra `docs` is not installed")

SUB_PACKAGES = ("distributions", "evaluation", "flows", "likelihoods", "networks", "parallel", "priors", "training")
EVALUATIONS = ("evaluation.latents", "evaluation.likelihood", "evaluation.samples")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    from experiments.api_reference import Options, main

    folder = tmp_path_factory.mktemp("api_reference")
    main(Options(output_dir=folder))
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*.html")}


def sections(page):
    return re.findall(r'<section id="([\w.]+)">', page)


def test_each_public_name_is_documented_once(written):
    documented = [name for page in written.values() for name in sections(page)]
    assert len(documented) == len(set(documented))
    packages = [vp, *(importlib.import_module(f"vaepriors_jax.{name}") for name in (*SUB_PACKAGES, *EVALUATIONS))]
    public = {name for package in packages for name in package.__all__}
    assert public - set(documented) <= {"__version__", *SUB_PACKAGES, "latents", "likelihood", "samples"}


def test_the_first_page_leads_to_every_sub_package(written):
    for name in SUB_PACKAGES:
        assert f'href="vaepriors_jax/{name}.html"' in written["vaepriors_jax.html"]


def test_formulas_are_mathml_and_nothing_comes_from_a_network(written):
    assert all("$" not in re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL) for page in written.values())
    assert "<math" in written["vaepriors_jax/priors.html"]
    for page in written.values():
        assert not re.search(r'<(script|link|img)[^>]*(src|href)="https?:', page)


def test_sections_of_docstrings_render(written):
    page = written["vaepriors_jax/priors.html"]
    conditional = page[page.index('<section id="conditional_normal">') : page.index('<section id="freeze">')]
    assert re.search(r"Context:</h6>\s*<ul>\s*<li><strong>y:</strong>", conditional)
    assert re.search(r"Raises:</h6>\s*<ul>\s*<li><strong>ValueError:</strong>", conditional)
    assert '<span class="gp">&gt;&gt;&gt; </span>' in conditional
    assert re.search(r"References:</h6>\s*<blockquote>\s*<p>Sohn", conditional)
    assert "<strong>decoder_context:</strong>" in written["vaepriors_jax.html"]
    assert "Alias for field" not in "".join(written.values())


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("KL is $\\log p$.", r"the formula '\$\\\\log p\$' is not converted"),
        ('<a href="missing.html">x</a>', "the link 'missing.html' leads nowhere"),
        ('<a href="#missing">x</a>', "the link 'page.html#missing' leads nowhere"),
        ("of <code>misspelt_name</code>", "`misspelt_name` does not exist"),
        ("see <code>known</code>", "`known` does not exist"),
        ("of <code>vp.known</code>", "`vp.known` does not exist"),
        ("gives a <code>Known</code>", "`Known` does not exist"),
    ],
)
def test_faults_are_found(text, fault):
    assert any(re.search(fault, found) for found in find_faults({"page.html": text}, ["known", "Known"]))


def test_a_good_page_has_no_faults():
    page = (
        '<script>$x$</script><p id="here">of <code>known</code> and <a href="#here">x</a> <a href="https://a.b">y</a>'
    )
    assert find_faults({"page.html": page}, ["known"]) == []


def test_words_are_those_of_the_code(tmp_path):
    (tmp_path / "module.py").write_text('"""Docstring."""\nloc = params["log_scale"]\n')
    assert {"loc", "params", "log_scale"} <= words_of(Path(tmp_path))
    assert "Docstring" not in words_of(Path(tmp_path))


def test_an_unknown_command_of_latex_is_refused():
    from experiments.reference.formulas import to_mathml

    assert '<mo lspace="0.17em" rspace="0.17em">log</mo><mi>p</mi>' in to_mathml(r"\log p")
    with pytest.raises(ValueError, match="nosuchcommand"):
        to_mathml(r"\nosuchcommand x")


def test_a_field_without_a_description_is_refused():
    import pdoc.doc

    from experiments.reference.pages import gather_fields

    named_tuple = pdoc.doc.Module.from_name("vaepriors_jax.vae").get("VAEParams")
    named_tuple.docstring = named_tuple.docstring.replace("decoder:", "")
    with pytest.raises(ValueError, match="Expected `decoder` under"):
        gather_fields(named_tuple)
