"""Documents that pass the quality rules, made from a seed: no test needs a download."""

from __future__ import annotations

import random
from typing import Any

NOUNS = [
    "river",
    "house",
    "council",
    "engine",
    "garden",
    "letter",
    "market",
    "teacher",
    "bridge",
    "harbour",
    "village",
    "window",
    "player",
    "farmer",
    "signal",
    "island",
]
VERBS = [
    "opened",
    "carried",
    "described",
    "repaired",
    "followed",
    "painted",
    "measured",
    "visited",
    "changed",
    "remembered",
    "published",
    "crossed",
]
ADJECTIVES = [
    "quiet",
    "northern",
    "careful",
    "wooden",
    "famous",
    "recent",
    "narrow",
    "modern",
    "heavy",
    "gentle",
    "distant",
    "early",
    "bright",
    "common",
]
WHO = [
    "老师",
    "工人",
    "学生",
    "医生",
    "记者",
    "市长",
    "农民",
    "船长",
    "邻居",
    "作家",
    "商人",
    "司机",
    "画家",
    "工程师",
    "孩子",
    "旅客",
]
DOES = [
    "修好了",
    "打开了",
    "看见了",
    "记录了",
    "讨论了",
    "离开了",
    "找到了",
    "参观了",
    "改变了",
    "买下了",
    "画出了",
    "送走了",
]
WHAT = [
    "河边的房子",
    "旧机器",
    "城里的市场",
    "远方的来信",
    "新的桥梁",
    "安静的花园",
    "北方的港口",
    "村口的小路",
    "明亮的窗户",
    "漫长的报告",
]
WHEN = ["昨天", "今年春天", "在上个月", "那天早晨", "不久以前", "傍晚时分", "节日以后", "雨停之后", "三年前", "周末"]


def english(rng: random.Random, sentences: int = 12) -> str:
    def one() -> str:
        return (
            f"The {rng.choice(ADJECTIVES)} {rng.choice(NOUNS)} of the {rng.choice(NOUNS)} {rng.choice(VERBS)} "
            f"a {rng.choice(ADJECTIVES)} {rng.choice(NOUNS)} and {rng.choice(VERBS)} that {rng.choice(NOUNS)} number {rng.randint(2, 9999)}."
        )

    return "\n".join(" ".join(one() for _ in range(3)) for _ in range(-(-sentences // 3)))


HOW = ["悄悄", "慢慢", "又一次", "终于", "匆忙", "一起", "仔细", "高兴地", "独自", "再三", "果然", "顺便"]
LIKE = ["古老", "崭新", "遥远", "温暖", "破旧", "美丽", "宽阔", "拥挤", "寒冷", "出名", "简单", "奇怪", "沉重", "明亮"]
THINGS = [
    "图书馆",
    "火车站",
    "雨伞",
    "照片",
    "邮票",
    "小船",
    "钢琴",
    "果园",
    "地图",
    "灯塔",
    "面包",
    "风筝",
    "日记",
    "石桥",
    "茶壶",
    "剧院",
]
ALSO = ["研究", "忘记", "想起", "借走", "设计", "寻找", "喜欢", "保护", "介绍", "批评", "收藏", "等待"]


def chinese(rng: random.Random, sentences: int = 12) -> str:
    def one() -> str:
        did = f"{rng.choice(WHO)}{rng.choice(HOW)}{rng.choice(DOES)}{rng.choice(LIKE)}的{rng.choice(THINGS)}"
        too = f"{rng.choice(WHO)}和{rng.choice(WHO)}也在{rng.choice(ALSO)}{rng.choice(THINGS)}{rng.randint(2, 9999)}号"
        return f"{rng.choice(WHEN)}，{did}，{too}。" if rng.random() < 0.7 else f"{too}，是{rng.choice(WHAT)}。"

    return "\n".join("".join(one() for _ in range(3)) for _ in range(-(-sentences // 3)))


def documents(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows of English and Chinese by turns."""
    rng = random.Random(seed)
    return [{"id": f"doc{number:04}", "text": (english, chinese)[number % 2](rng)} for number in range(count)]
