"""HTML to text: the words of a page without its furniture. Parsing and layout are resiliparse's; what is furniture is here.

Why not resiliparse's own `main_content`, nor trafilatura: both drop lists and short Chinese runs inside a paragraph
("中<b>文</b>字，没有空格" becomes "，没有空格"), which costs a tenth to a fifth of the words of LibreOffice's help pages.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any, Literal

# ---------------------------------------------------------------- what is furniture

_LANDMARKS = (
    "nav", "dialog", "[role=navigation]", "[role=banner]", "[role=contentinfo]", "[role=search]", "[role=dialog]",
    "[role=alertdialog]", "[role=menu]", "[role=menubar]", "[aria-modal=true]", ".mw-editsection", ".headerlink",
)  # fmt: skip
_MARK = "data-ptft-drop"
_SKIPPED = [*_LANDMARKS, f"[{_MARK}]"]
_NAMED = {"div", "section", "ul", "ol", "table", "td", "p", "form", "header", "footer", "aside"}  # never main or body
_NAMES = re.compile(r"""\s(class|id)\s*=\s*(?:"([^"]{1,400})"|'([^']{1,400})'|([^\s"'<>]{1,200}))""", re.I)
_WORD = re.compile(r"[\w-]{2,60}")
_FURNITURE = re.compile(
    r"(?:(?!cat|tag|topic|post|recipe).*-)?(?:cookies?|gdpr|ccpa|consent)(?:-?(?:bar|banner|notice|consent|law|popup|modal|message|warning|overlay|dialog|sdk|manager|container|wrapper))*"
    r"|onetrust.*|cc-window|cybotcookiebot.*"
    r"|(?:(?:main|top|site|side|sub|page|global|mobile|primary|secondary|left|right|foot(?:er)?|head(?:er)?|mod|m)-?)?"
    r"(?:nav|navbar|navs|navigation|menu|navmenu|breadcrumbs?|crumbs?|footer|copyrights?|sidebar|toolbar-nav)"
    r"(?:-?(?:bar|box|list|container|wrap(?:per)?|area|inner|menu|links?|widgets?|main|left|right|top|bottom|\d+))*"
    r"|colophon|topbar|masthead|daohang|banquan|icp|beian|navbox.*|catlinks|printfooter|mw-jump-link|no-?print"
    r"|(?:post|page|comment|posts)-navigation|pagination|pager|page-?nav|prev-?next|toc|table-of-contents"
    r"|related(?:-?(?:posts?|articles?|links?|news|stories|content|reading|items?))?|recommend(?:ed|s|ations?)?(?:-.*)?"
    r"|more-(?:stories|news|articles)|(?:most|also)-?(?:read|popular)|popular-posts|trending|hot-?news|read-next"
    r"|comments|comment-?(?:list|s?-?area|section|form|thread|respond)|disqus.*|respond"
    r"|(?:social|share|sharing)(?:-?(?:links?|buttons?|bar|icons?|media|tools|post|box|list|wrap(?:per)?))*"
    r"|sharedaddy|addtoany.*|addthis.*|jiathis.*|bds?hare.*"
    r"|newsletter(?:-.*)?|subscribe(?:-.*)?|sign-?(?:up|in)(?:-.*)?|log-?in(?:-.*)?"
    r"|ads?|adsbygoogle|advert(?:s|isements?|ising)?(?:-.*)?|ad-?(?:slot|unit|container|wrapper|banner|box)|sponsor(?:ed)?"
    r"|search(?:-?(?:form|box|bar))?|modal|popup|lightbox|skip-?links?|skip-to-.*|back-?to-?top|go-?top"
)
_CALLOUT = re.compile(
    r"note|tip|warn|admonition|callout|info|important|hint|caution|footnote|pullquote|highlight", re.I
)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_HIDDEN = re.compile(r"display\s*:\s*none", re.I)
_LINK_HEADING = re.compile(
    r"\s*(?:related (?:articles|posts|stories|news|reading|links)|(?:most|also|more) (?:read|popular)|read (?:more|next)|more stories"
    r"|you (?:may|might) also like|recommended(?: for you)?|trending(?: now)?"
    r"|(?:相关|推荐|延伸|扩展|更多)(?:阅读|新闻|文章|报道|链接|推荐|内容)|热门(?:文章|新闻|推荐|阅读)|猜你喜欢|友情链接|相關(?:閱讀|新聞|文章))\s*[:：]?\s*",
    re.I,
)
_BOILERPLATE_LINE = re.compile(
    r"(?:[^\n。]{0,80}(?:ICP[备證证]\s*\d|公网安备\s*\d)[^\n。]{0,80}"
    r"|[^\n。]{0,20}(?:版权所有|版權所有|未经授权|未經授權)[^\n]{0,80}"
    r"|(?:copyright\s*)?(?:©|\(c\))\s*(?:copyright\s*)?(?:19|20)\d\d[^\n]{0,80}"
    r"|(?:当前位置|您(?:现在)?的位置|您所在的位置|目前位置|分享到|分享至|上一篇|下一篇|责任编辑|責任編輯)\s*[:：][^\n。]{0,80}"
    r"|(?:【?(?:打印|关闭|收藏|大|中|小)】?\s*){2,})",
    re.I,
)
_BOILERPLATE_SIGN = re.compile(
    r"[©【】大中小]|\([cC]\)|ICP|网安|所有|授权|授權|位置|分享|一篇|编辑|編輯|打印|关闭|收藏"
)
_LABELS_LINE = re.compile(r"[^|｜\n。.!?！？]{1,16}(?:[|｜][^|｜\n。.!?！？]{1,16}){2,}")  # 首页 | 新闻 | 体育
_OUTER = 4  # lines at either end of a page, where its menus are
_MOSTLY = 0.5  # an element that holds more of the page than this is not furniture, whatever its class says
_LEAST, _TELLING = 0.1, 200  # less than this share of a page of at least so many characters: the page is all furniture
_MOST, _MOST_NAMES = 500, 100  # elements looked at one by one; names in a selector


def html_to_text(page: str, content: Literal["main", "all"] = "main") -> str:
    """The text of an HTML page: a blank line between blocks, a line a list item or table row (cells apart by tabs), `pre` as it is.

    main: without navigation, banners, sidebars, comments, footers; all of it where that would leave under a tenth.
    Scripts, styles, forms and what `<noscript>` says are never text. Never raises; what has no text is "".
    """
    from resiliparse.parse.html import HTMLTree

    tree = HTMLTree.parse(_with_marked_pre(_printable(page)))
    whole = _plain(tree, [])
    if content == "all" or tree.body is None:
        return _tidied(whole)
    _mark_furniture(tree.body, _furniture_names(page), len(whole))
    text = _tidied(_without_boilerplate_lines(_plain(tree, _SKIPPED)))
    if len(text) < _LEAST * len(whole) and len(whole) >= _TELLING:
        return _tidied(whole)
    return text


def _plain(tree: Any, skipped: list[str]) -> str:
    from resiliparse.extract.html2text import extract_plain_text

    return str(extract_plain_text(tree, alt_texts=False, list_bullets=False, skip_elements=skipped))


# ---------------------------------------------------------------- marking


def _mark_furniture(body: Any, names: str, size: int) -> None:
    """Set an attribute on what is no content, for resiliparse to skip. size: characters of the page's text."""
    for element in _furniture(body, names):
        if len(element.text) <= _MOSTLY * size:
            element.setattr(_MARK, "")


def _furniture(body: Any, names: str) -> Iterator[Any]:
    yield from filter(_is_landmark, _all(body, "header,footer,aside"))
    yield from filter(_is_hidden, _all(body, "[style*=display]"))
    if names:
        yield from (element for element in _all(body, names) if element.tag in _NAMED)
    for heading in _all(body, "h2,h3,h4,h5,h6"):
        links = heading.next_element_sibling
        if links is not None and _LINK_HEADING.fullmatch(heading.text) and _is_links(links):
            yield from (heading, links)
    yield from filter(_is_menu, _all(body, "ul,ol"))


def _all(element: Any, selector: str) -> list[Any]:
    """What a selector finds, unless it is so much that looking at each would take long: such a page is no article."""
    found = element.query_selector_all(selector)
    if len(found) > _MOST:
        return []
    return found[:]  # an index, or a loop, would build the whole list again for each element


def _furniture_names(page: str) -> str:
    """A selector of the classes and ids that are words for furniture; from the source, where looking is cheap."""
    selectors: dict[str, None] = {}
    for kind, *values in dict.fromkeys(_NAMES.findall(page)):
        for word in "".join(values).split():
            if _names_furniture(word):
                selectors[f'[class~="{word}"]' if kind.lower() == "class" else f'[id="{word}"]'] = None
    return ",".join(list(selectors)[:_MOST_NAMES])


@functools.lru_cache(maxsize=1 << 14)
def _names_furniture(word: str) -> bool:
    """Whether a class or an id is a word for furniture: "site-footer", "cookieConsent", "related_posts"."""
    return bool(
        _WORD.fullmatch(word) and _FURNITURE.fullmatch(_CAMEL.sub("-", word).lower().replace("_", "-").strip("-"))
    )


def _is_landmark(element: Any) -> bool:
    if element.tag == "footer":
        return element.parent is None or element.parent.tag != "blockquote"
    if element.tag == "aside":
        return not _CALLOUT.search(element.class_name or "")
    if element.closest("article,main,section") is not None:
        return False
    return element.query_selector("h1") is None or element.query_selector("nav,ul,form") is not None


def _is_hidden(element: Any) -> bool:
    return _HIDDEN.search(element.getattr("style")) is not None


def _is_links(element: Any) -> bool:
    linked = sum(len(link.text.strip()) for link in _all(element, "a"))
    return bool(linked >= 0.8 * len("".join(element.text.split())))


def _is_menu(element: Any) -> bool:
    """A list of nothing but short links."""
    links = element.query_selector_all("a[href]")
    if not 4 <= len(links) <= 100:
        return False
    labels = [link.text.strip() for link in links[:]]
    lengths = sum(map(len, labels))
    return lengths <= 12 * len(labels) and lengths >= 0.9 * len("".join(element.text.split()))


# ---------------------------------------------------------------- layout

_PRE = "\ufdd0"  # a noncharacter before each line of `pre`, so that its indentation is told from a list's
_INDENTED, _MOST_LISTS = re.compile(r"<(/?)(?:ul|ol|dl|menu|dir|blockquote)\b", re.I), 1000
_PRE_TAG = re.compile(r"<pre(?:\s[^<>]*)?>", re.I)
_PRE_END = re.compile(r"</pre\s*>", re.I)
_SPACES = re.compile(r"[ \t\xa0]*\t[ \t\xa0]*")
_BLANK_LINES = re.compile(r"\n{3,}")


def _printable(page: str) -> str:
    """Without what the parser cannot take; and without lists where they are so many that indentation would fill the memory."""
    page = page.encode("utf-8", "ignore").decode().replace("\0", "").replace(_PRE, "")
    return _INDENTED.sub(r"<\1div", page) if len(_INDENTED.findall(page)) > 2 * _MOST_LISTS else page


def _with_marked_pre(page: str) -> str:
    parts, start = [], 0
    while opening := _PRE_TAG.search(page, start):
        closing = _PRE_END.search(page, opening.end())
        if closing is None:
            break
        lines = page[opening.end() : closing.start()].replace("\r\n", "\n").replace("\r", "\n").removeprefix("\n")
        parts += [page[start : opening.end()], _PRE, lines.replace("\n", "\n" + _PRE), closing.group()]
        start = closing.end()
    return "".join([*parts, page[start:]])


def _tidied(text: str) -> str:
    text = "\n".join([_tidied_line(line) for line in text.split("\n")])
    return _BLANK_LINES.sub("\n\n", text).replace(_PRE, "").strip("\n")


def _tidied_line(line: str) -> str:
    """A list's indentation gone, one tab between cells; a line of `pre` as it was."""
    if _PRE in line:
        line = line[line.index(_PRE) + 1 :].replace(_PRE, "").rstrip()
        return line or _PRE  # a blank line of code stays
    line = line.strip(" \t\r\f\v")
    return _SPACES.sub("\t", line) if "\t" in line else line


def _without_boilerplate_lines(text: str) -> str:
    """Without copyright and breadcrumb lines, and rows of labels that begin or end a page; `pre` is left alone."""
    lines = [line for line in text.split("\n") if _PRE in line or not _is_boilerplate(line.strip())]
    filled = [number for number, line in enumerate(lines) if line.strip()]
    outer = {number for number in (*filled[:_OUTER], *filled[-_OUTER:]) if _PRE not in lines[number]}
    return "\n".join([line for number, line in enumerate(lines) if number not in outer or not _is_labels(line.strip())])


def _is_boilerplate(line: str) -> bool:
    return 2 < len(line) <= 200 and bool(_BOILERPLATE_SIGN.search(line) and _BOILERPLATE_LINE.fullmatch(line))


def _is_labels(line: str) -> bool:
    return len(line) <= 200 and ("|" in line or "｜" in line) and _LABELS_LINE.fullmatch(line) is not None


# ---------------------------------------------------------------- is it HTML?

_START = re.compile(r"\s*(?:<\?xml[^<>]*>\s*)?(?:<!--[^<>]*-->\s*)*<(?:!doctype\s+html|html)\b", re.I)
_BODY = re.compile(r"<body[\s>].*</body\s*>", re.I | re.S)
_BLOCK = re.compile(r"<(?:p|div|br|li|ul|ol|td|tr|table|h[1-6]|section|article)(?:\s[^<>]{0,300})?/?>", re.I)
_BLOCK_END = re.compile(r"</(?:p|div|li|ul|ol|td|tr|table|h[1-6]|section|article)>", re.I)
_MANY, _DENSE = 3, 500  # tags; characters of text a tag


def looks_like_html(text: str) -> bool:
    """Whether a text is a page or a fragment of one, and not a text about HTML.

    It is where it starts with a doctype or `<html>`; or it starts with a tag and has several block tags, opened and closed, one
    at least every 500 characters. A text that mentions tags starts with words.
    """
    if "<" not in text or ">" not in text:
        return False
    if _START.match(text[:2000]):
        return True
    if not text[:200].lstrip().startswith("<"):
        return False
    opened, closed = len(_BLOCK.findall(text)), len(_BLOCK_END.findall(text))
    dense = (opened + closed) * _DENSE >= len(text)
    return (dense and opened >= _MANY and closed >= _MANY) or (opened + closed >= 2 and _BODY.search(text) is not None)
