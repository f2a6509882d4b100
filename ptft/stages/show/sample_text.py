"""Text on which tokenizers are compared: news, prose, instructions, talk, numbers and code, in English and in Chinese. Our own."""

from __future__ import annotations

SENTENCES = (
    "The government said on Tuesday that 1,250 new homes would be built before 2031.",
    "政府周二表示，到2031年将新建1250套住房，人工智能公司也会参与设计。",
)

SAMPLE: dict[str, tuple[str, ...]] = {
    "en": (
        SENTENCES[0],
        "Heavy rain closed the coastal road for a third day. Farmers in the valley, who had waited since April for a proper "
        "downpour, watched the river rise past the old stone bridge and wondered aloud whether they should have wished for it. "
        "The council expects repairs to cost about £3.4m and to last until the end of November.",
        "She had not meant to keep the letter. It lay between two books on the shelf, its edges softened by damp, and every winter "
        "she told herself that she would answer it when the evenings grew longer again.",
        "To install the package, open a terminal, change to the directory that holds the archive, and run the command below. If the "
        "installation fails, check that you have permission to write there and that at least 500 MB of disk space are free.",
        '"Did you call the bank?" - "I couldn\'t. They\'d already closed, and it\'s a holiday tomorrow." - "Then we\'ll go on '
        "Thursday. Don't forget your passport this time!\"",
        "A language model assigns a probability to the next word given those before it. Trained on enough text, it picks up grammar, "
        "facts and style without being told any rules; its loss falls as a power of the number of parameters and of the data.",
        "def mean(values):\n    total = 0.0\n    for value in values:\n        total += value\n    return total / len(values)\n",
    ),
    "zh": (
        SENTENCES[1],
        "连日暴雨使沿海公路第三天封闭。山谷里的农民从四月起就盼着一场透雨，如今看着河水漫过老石桥，又不禁自问当初是否不该这样盼望。"
        "市政部门估计维修费用约为340万元，工程要到十一月底才能结束。",
        "她本来没打算留下那封信。信夹在书架上的两本书之间，边角已被潮气浸软。每到冬天她都对自己说，等夜晚再长一些，就给他回信。",
        "要安装该软件包，请打开终端，切换到存放压缩文件的目录，然后运行下面的命令。如果安装失败，请检查您是否有写入权限，以及磁盘上是否至少有500 MB的可用空间。",
        "“你给银行打电话了吗？”“没打成，他们已经下班了，明天又放假。”“那我们星期四再去吧，这次可别忘了带护照！”",
        "语言模型根据前面的词给出下一个词的概率。只要文本足够多，它不需要任何规则就能学会语法、常识和文体；随着参数量和数据量的增加，损失按幂律下降。",
        "学而时习之，不亦说乎？有朋自远方来，不亦乐乎？人不知而不愠，不亦君子乎？",
    ),
}
