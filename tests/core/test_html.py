"""HTML to text: pages as they are found, with what must stay and what must go."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptft.core.html import html_to_text, looks_like_html

ARTICLE = """<!DOCTYPE html><html lang="en"><head><title>Rivers | The Daily</title><style>.a{}</style><script>var x = 1 < 2;</script></head><body class="has-sidebar">
<div id="cookie-banner" class="cookie-consent"><p>We use cookies to improve your experience.</p><button>Accept all</button></div>
<header class="site-header"><a class="logo" href="/">The Daily</a><nav><ul><li><a href="/news">News</a></li><li><a href="/sport">Sport</a></li></ul></nav></header>
<main class="content with-sidebar"><article class="post category-cookies"><header><h1>Rivers rise after a week of rain</h1></header><div class="byline">By Ann Lee, 3 March</div>
<p>Three rivers in the <b>north</b> rose above their banks on Monday, and two villages were <a href="/x">cut off</a> for most of the day.</p>
<p>Engineers said the new barriers, which cost <em>£12m</em>, had held.</p>
<aside class="related"><h3>Related articles</h3><ul><li><a href="/1">Drought ends in the south</a></li></ul></aside>
<p>More rain is expected on Thursday.</p>
<h3>You may also like</h3><ul><li><a href="/4">How to build a barrier out of sand</a></li></ul></article>
<section id="comments" class="comments"><h2>Comments (2)</h2><div class="comment"><p>First!</p></div></section></main>
<aside class="sidebar"><h3>Most read</h3><ol><li><a href="/3">Ten cheap recipes</a></li></ol><div class="newsletter">Subscribe to our newsletter</div></aside>
<footer><p>© 2024 The Daily. All rights reserved.</p><a href="/privacy">Privacy policy</a></footer></body></html>"""
ARTICLE_TEXT = """Rivers rise after a week of rain

By Ann Lee, 3 March

Three rivers in the north rose above their banks on Monday, and two villages were cut off for most of the day.

Engineers said the new barriers, which cost £12m, had held.

More rain is expected on Thursday."""

CHINESE = """<!DOCTYPE html><html lang="zh-CN"><head><meta charset="gb2312"><title>新闻</title></head><body>
<div class="nav"><a href="/">首页</a> | <a href="/news">新闻</a> | <a href="/sports">体育</a></div>
<div class="breadcrumb">当前位置：<a href="/">首页</a> &gt; <a href="/news">国内新闻</a></div>
<div class="article"><h1>今年粮食产量再创新高</h1>
<div class="content"><p>　　国家统计局<b>今天</b>公布，今年全国粮食总产量<a href="#">13908</a>亿斤，比上年增加177亿斤。</p>
<p>　　专家表示，<strong>秋粮</strong>产量增加较多，<span>夏粮</span>略有下降。</p></div>
<div class="share">分享到：微信 微博</div></div>
<div class="box"><h3>相关阅读</h3><ul><li><a href="/a1">农业农村部部署冬小麦田间管理</a></li><li><a href="/a2">粮食收购进度加快</a></li></ul></div>
<div class="bottom"><p>关于我们 | 联系我们 | 网站地图</p><p>版权所有 © 2023 某某网 京ICP备00000000号</p></div></body></html>"""
CHINESE_TEXT = """今年粮食产量再创新高

　　国家统计局今天公布，今年全国粮食总产量13908亿斤，比上年增加177亿斤。

　　专家表示，秋粮产量增加较多，夏粮略有下降。"""

CODE = """<html><body><nav class="toc"><ul><li><a href="#a">Install</a></li></ul></nav><div role="main"><h1>json.dumps</h1>
<p>Serialise <code>obj</code> to a <code>str</code>:</p><div class="highlight"><pre><span></span><span class="k">def</span> <span class="nf">f</span>(x):
    <span class="k">if</span> x &lt; 1:
        <span class="k">return</span>   <span class="n">x</span>

    <span class="k">return</span> f(x - 1)
</pre></div><ul><li>Run it:<pre>a  b
  c</pre></li></ul><aside class="note">Mind the depth.</aside></div><footer>Built with Sphinx</footer></body></html>"""
CODE_TEXT = """json.dumps

Serialise obj to a str:

def f(x):
    if x < 1:
        return   x

    return f(x - 1)

Run it:
a  b
  c
Mind the depth."""


@pytest.mark.parametrize(("page", "text"), [(ARTICLE, ARTICLE_TEXT), (CHINESE, CHINESE_TEXT), (CODE, CODE_TEXT)])
def test_pages_without_their_furniture(page: str, text: str) -> None:
    assert html_to_text(page) == text


def test_all_of_a_page() -> None:
    text = html_to_text(ARTICLE, "all")
    assert all(words in text for words in ("We use cookies", "First!", "Ten cheap recipes", "All rights reserved"))
    assert "1 < 2" not in text and "<" not in text


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<p>one</p><p>two</p>", "one\n\ntwo"),
        ("<h1>Head</h1>a <b>bold</b> word<br>next<p>文</p>", "Head\n\na bold word\nnext\n\n文"),
        ("<p>one <b>two</b> <i>three</i><b>four</b>, <a>five</a>.</p>", "one two threefour, five."),
        ("<p>中<b>文</b><span>字</span>，<a>没有</a>空格</p>", "中文字，没有空格"),
        ("<p>H<sub>2</sub>O</p>", "H2O"),
        ("床前明月光，<br>疑是地上霜。<br><br>举头望明月，", "床前明月光，\n疑是地上霜。\n\n举头望明月，"),
        ("<ul><li>苹果</li><li>香蕉<ol><li>in it</li></ol></li></ul>", "苹果\n香蕉\nin it"),
        ("<dl><dt>Term</dt><dd>What it means</dd></dl>", "Term\nWhat it means"),
        ("<table><tr><th>Name<th>Price<tr><td>Green <b>tea</b><td>4&nbsp;&euro;</table>", "Name\tPrice\nGreen tea\t4\u00a0€"),
        ("<p>Fish &amp; chips &lt;b&gt; caf&eacute; &#x4e2d;&#25991; &unknown; AT&T", "Fish & chips <b> café 中文 &unknown; AT&T"),
        ("<p>unclosed <b>bold <i>both</b> still</i><div>a < b<p>next</span></div> tail & end", "unclosed bold both still\n\na < b\n\nnext\n\ntail & end"),
        ("<!-- no --><body><script>no</script><style>no</style><noscript>no</noscript><template>no</template>yes<textarea>no</textarea>", "yes"),
        ("<blockquote>Words.<footer>Ann</footer></blockquote>", "Words.\nAnn"),
        ("<html><head><title>x</title></head><body></body></html>", ""),
        ("<body><nav><a href=1>One</a><a href=2>Two</a></nav></body>", ""),
        ("", ""),
        ("no tags", "no tags"),
    ],
)  # fmt: skip
def test_layout(page: str, text: str) -> None:
    assert html_to_text(page) == text


@pytest.mark.parametrize(
    "banner",
    [
        '<div id="onetrust-consent-sdk"><div role="dialog"><p>You agree to cookies.</p></div></div>',
        '<div class="gdpr">You agree to cookies.</div>',
        '<div class="cc-window cc-banner">You agree to cookies. <a>Learn more</a></div>',
        '<section id="cookieConsent">本网站使用 Cookie</section>',
        '<div class="wp-cookie_notice">You agree to cookies.</div>',
        '<div style="color: red; display: none">You agree to cookies.</div>',
        '<ul class="x"><li><a href=1>Home</a><li><a href=2>News</a><li><a href=3>Sport</a><li><a href=4>Arts</a></ul>',
        "<p>Copyright © 2020 Somebody. All rights reserved.</p>",
    ],
)
def test_banners_go(banner: str) -> None:
    words = "Flour matters more than anything else in bread, and the oven comes after it in a kitchen."
    assert html_to_text(f"<body>{banner}<div class=entry><p>{words}</p></div>{banner}</body>") == words


def test_a_class_does_not_condemn_most_of_a_page() -> None:
    words = "Bread is flour and water. " * 30
    assert html_to_text(f'<body><div class="content sidebar"><p>{words}</p></div></body>') == words.strip()


def test_code_is_no_menu() -> None:
    assert html_to_text("<pre>ls | wc | cat\n| a | b | c |\n© 2020</pre>") == "ls | wc | cat\n| a | b | c |\n© 2020"


def test_a_recipe_for_cookies_is_no_banner() -> None:
    words = "Flour, sugar and butter. " * 10
    page = (
        f'<div class="post category-cookies"><p>{words}</p></div><div class="post"><p>{words}</p><p>{words}</p></div>'
    )
    assert html_to_text(page).count("Flour") == 30


def test_a_page_that_is_all_furniture_is_kept_whole() -> None:
    page = "<body><nav>" + "<p>A sentence that stands in a nav element.</p>" * 20 + "</nav><p>End.</p></body>"
    assert html_to_text(page).count("A sentence") == 20


MARKUP = st.sampled_from(
    ["<div class=nav>", "</div>", "<p>", "<ul><li>", "<a href=x>", "</a>", "<pre>", "</pre>", "<table><td>", "<b>", "</b>", "<br>",
     "<!--", "-->", "<script>", "</script>", "<aside>", "<footer>", "<header>", "<h2>", "Related articles", "</h2>", "&amp;", "&#0;",
     "文", "word ", "\n  ", "\ufdd0", "\0", "\ud800", "<svg>", "<math>", "<template>", "<body class='nav\"'>", "<p style='display:none'>"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(), st.lists(MARKUP, max_size=40).map("".join)), st.sampled_from(["main", "all"]))
def test_nothing_raises(page: str, content: str) -> None:
    text = html_to_text(page, content)  # type: ignore[arg-type]
    assert "\ufdd0" not in text and "\0" not in text
    looks_like_html(page)


@pytest.mark.parametrize(
    "tag",
    ["div class=nav", "ul", "ul><li><a href=x>y</a", "header", "b><p", "h2>Related articles<ul", "pre", "blockquote"],
)
def test_deep_nesting_takes_no_time(tag: str) -> None:
    start = time.perf_counter()
    html_to_text("<body>" + f"<{tag}>" * 20_000 + "text")
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    ("text", "is_html"),
    [
        (ARTICLE, True),
        (CHINESE, True),
        ("<p>one</p><p>two</p><div>three</div>", True),
        ("<body>text</body><p>", False),
        ('<?xml version="1.0"?><!DOCTYPE html PUBLIC "x"><html></html>', True),
        ("Use <p> and </p>, <div> and </div>, <li> and </li> for blocks.", False),
        ("if a < b and c > d: pass", False),
        ("<user> hello", False),
        ("# Title\n\n<p>A line of markup in Markdown.</p>\n\n" + "Text. " * 400, False),
        ("", False),
    ],
)
def test_looks_like_html(text: str, is_html: bool) -> None:
    assert looks_like_html(text) == is_html
