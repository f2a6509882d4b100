"""Noise: what each measure sees, what it leaves alone, and that it costs little. Everything written for this test."""

from __future__ import annotations

import time

import numpy as np
import pytest
from documents import documents
from hypothesis import given, settings
from hypothesis import strategies as st

from ptft.stages.clean.noise import (
    NAMES,
    boilerplate_lines,
    c4_policy_line,
    code_share,
    is_boilerplate_line,
    is_code_line,
    javascript_line,
    lorem_ipsum,
    measure,
    spam,
)

LIMIT = 6.0  # as suggested to the knob

ADS_EN = [
    "BUY NOW and save 50% off! Limited time offer on all designer watches. Free shipping worldwide. Click here to order!!!",
    "Lose weight fast with our amazing fat burner pills! 100% guaranteed results or your money back. Order today and get a free bottle.",
    "Work from home and earn extra cash! No experience needed, be your own boss. Sign up today at www.example-jobs.biz.",
    "Cheap Viagra and Cialis, no prescription needed. Lowest prices guaranteed, discreet delivery. Order now: http://pills.example",
    "Congratulations! You have been selected to win a new phone. Claim your prize now, click the link below before it expires.",
    "Need cash fast? Payday loans up to $5,000 with instant approval. Bad credit? No credit check! Apply now, call (800) 555-0199.",
    "Best online casino! 200 free spins, no deposit bonus for new players. Join now and win real money tonight! Use code LUCKY7.",
    "Wholesale prices on Nike, Adidas and Gucci replica. Top quality, free delivery. WhatsApp us: +86 13812345678. Hurry, limited stock!",
    "Get 1000 real followers for only $9.99! Instant delivery, satisfaction guaranteed. DM us or add Telegram @growfast2024.",
    "Our carpet cleaning company offers affordable service with a free quote. Call us today at 212-555-0187. Mention this ad for 20% off!",
    "SHOP NOW!!! Mega sale on mattresses, up to 70% OFF everything. While supplies last. Visit our website for exclusive deals.",
    "Double your income with our forex robot. Risk free trial, passive income from day one. Text us now on WhatsApp +44 7700 900123.",
    "Don't miss out: special offer for pet owners! Buy today and get a second bag free. Promo code WOOF. Free shipping over $25.",
    "Essay writing service, best quality, cheap price, money back guarantee. Order now and get 15% off your first paper!",
    "Replica handbags at unbeatable prices! Free shipping, in stock, all major cards. Contact us on WeChat: bags_lily88.",
]
ADS_ZH = [
    "厂家直销，全场五折起！正品保证，假一赔十，货到付款。欢迎来电咨询：13812345678，微信同号。",
    "限时抢购！原价299元，现价仅需99元，包邮到家。数量有限，先到先得，点击购买！",
    "诚招代理，一件代发，零风险高回报，月入过万不是梦！加微信：abc12345，机会难得！",
    "无抵押贷款，当天放款，低息秒到账，征信花也能做。联系电话：400-820-8820，QQ：123456789。",
    "祖传秘方，专治脱发，一个疗程见效，不反弹，无效退款！咨询热线：010-62345678。",
    "双十一狂欢，全场满300减50，领取优惠券再打八折！爆款热卖，立即抢购！",
    "在家赚钱，日赚300元，兼职刷单，无需押金，时间自由。有意加QQ：987654321。",
    "减肥瘦身茶，七天瘦十斤，纯天然无副作用，买一送一，仅售128元，欢迎订购！",
    "办理信用卡提额、套现，手续费低，秒到账，诚信代办，微信：kaka6688。",
    "高仿名表、一手货源，专柜品质，支持七天无理由退换，添加微信 biao_9988，全国包邮。",
    "火锅店加盟，总部扶持，投资小回报快，免费加盟，加盟热线4008208820，名额有限！",
    "英语培训班招生啦！一对一辅导，包过，免费试听，报名热线：021-62345678，前50名立减500元。",
    "美容院开业大酬宾，祛斑美白特价促销，免费体验，长按识别二维码领取红包！",
    "真人娱乐平台，注册即送88元，首存送彩金，提款秒到账，稳赚不赔，加客服微信wy8888！",
    "清仓大甩卖！跳楼价处理库存女装，最低9.9元包邮，最后三天，欲购从速！",
]
NEWS_EN = [
    "Consumer prices rose 0.4% in March, the statistics office said on Tuesday, as petrol and food became more expensive. Economists had expected a smaller rise, and the pound gained ground against the dollar.",
    "The retailer said discounts before Christmas had hurt its margins. Sales rose 3% but profit fell to £42m, and the chief executive said customers were waiting for deals before they bought.",
    "A new bookshop opens on Mill Street this Saturday. The owner, a former teacher, hopes that readings for children will draw families to the old market square. It is open from ten until six.",
    "I bought this kettle in May for $35 and it still works well. The lid is stiff and the cord is short, but it boils quickly and the price was fair. I would buy it again.",
    "Police have warned residents about e-mails that promise a lottery prize. Victims are asked to pay a fee before they can claim the money, a spokesman said, and most never see it again.",
    "The airline is to cut fares on its northern routes by up to 20% after a rival announced cheaper tickets. Analysts said that the price war could cost both companies millions.",
    "You have to order your books before the end of term, the librarian told us, because the shelves are to be moved over the summer. Ask at the desk if you need help!",
    "The film is free of the clichés of the genre, and its two leads offer performances of real warmth. It is not a bargain at three hours, but it earns its length.",
    "Regulators fined the lender for advertising instant approval of loans to people with bad credit. The company said that it had changed its website and would contact customers who were misled.",
    "How do I get a refund for a train ticket? Go to the counter with the ticket and your card. You get your money back within a week, less a fee of £5.",
    "Viagra was first studied as a drug against angina. Its maker noticed an unexpected effect in trials, and sales passed a billion dollars within two years of its approval.",
    "WHAT A MATCH!!! Three goals in ten minutes, and the crowd went wild! I have never seen anything like it! Come on you Reds!!!",
    "The museum's free guided tours start at noon. Visitors can call 212-555-0187 to ask about access, and the cafe on the second floor offers a view over the park.",
    "Chancellor's budget: duty on beer will be frozen, while the price of a packet of cigarettes goes up by 14p. The threshold at which stamp duty is paid doubles to £120,000.",
    "She sold the house, saved what was left, and bought a cheap ticket to Lisbon. The deal, she told her sister, was the best she had ever made.",
]
NEWS_ZH = [
    "国家统计局周二公布，三月份居民消费价格同比上涨百分之二点三，其中食品价格上涨较快，猪肉价格涨幅回落。",
    "多家商场在国庆假期推出促销活动，部分商品打折销售。业内人士认为，消费者更加理性，优惠力度并非唯一因素。",
    "昨天上午，城东新开了一家书店，吸引了不少市民前来阅读。店主介绍，书店每周末将举办免费的儿童故事会。",
    "这款手机我用了三个月，电池耐用，屏幕清晰，就是有点重。当时花了1999元，总体来说对得起这个价格。",
    "警方提醒市民，凡是要求先交手续费的贷款都是诈骗。受害人王先生在网上申请贷款，被骗走三万元。",
    "该公司去年营业收入增长百分之十二，净利润下降百分之五。管理层表示，加盟店扩张带来的成本高于预期。",
    "春节临近，铁路部门提醒旅客提前订购车票，客服热线将增加人手。今年春运预计发送旅客四亿人次。",
    "中央银行宣布下调贷款基准利率，这是今年以来第二次降息。分析人士认为，此举有助于降低企业融资成本。",
    "学校今年扩大招生规模，新增两个专业。校长说，学费不变，贫困学生可以申请免费住宿。",
    "外婆的小店开在巷口，卖些针线和糖果，价格便宜。街坊们都喜欢来坐坐，聊聊家常。",
    "电影票房突破十亿元，导演在微信上感谢观众。影评人认为，影片的成功靠的是口碑而不是宣传。",
    "太好了！我们赢了！全场观众都站起来欢呼！这是十年来最精彩的一场比赛！！！",
    "请问在哪里可以办理退货？带上发票到服务台，工作人员会为您办理，七天之内钱会退回原来的卡里。",
    "近日，有网友反映在某直播间抢购的商品质量不佳。市场监管部门已介入调查，并要求平台下架相关商品。",
    "故障排除：如果打印机没有反应，请检查电源和数据线是否连接好，然后重新启动电脑，再打印一张测试页。",
]


@pytest.mark.parametrize("text", ADS_EN + ADS_ZH)
def test_advertisements_exceed_the_limit(text):
    assert spam(text) > LIMIT


@pytest.mark.parametrize("text", NEWS_EN + NEWS_ZH)
def test_news_of_prices_reviews_and_openings_do_not(text):
    assert spam(text) <= LIMIT


EXTRAS = ["order now", "free shipping", "discount", "50% off", "only $5", "whatsapp me at whatsapp: +4477009001", "!!!", "货到付款", "优惠"]  # fmt: skip


@given(st.lists(st.sampled_from(EXTRAS), max_size=8), st.sampled_from(EXTRAS))
@settings(max_examples=200, deadline=None)
def test_more_advertising_in_place_of_plain_words_never_scores_less(parts, extra):
    plain = ["plain words here and there"] * 9
    before = " ".join([*parts, *plain])
    after = " ".join([*parts, extra, *plain[2:]])
    assert spam(after) >= spam(before)


def test_an_advertisement_in_a_long_article_is_diluted():
    article = " ".join(row["text"] for row in documents(5))
    assert 0 < spam(f"{article} {ADS_EN[9]}") < LIMIT < spam(ADS_EN[9])


def test_lorem_ipsum():
    assert lorem_ipsum("Lorem ipsum dolor. LOREM IPSUM") == 2
    assert lorem_ipsum("capsum florem") == 0


BOILERPLATE = [
    "We use cookies to give you the best experience on our website. By continuing to browse you agree.",
    "© 2019 Example Media Ltd. All rights reserved.", "Copyright 2020", "Please enable JavaScript to view the comments.",
    "Share this:", "Click here", "» Read more", "Subscribe to our newsletter", "Leave a Reply", "Privacy Policy | Terms of Use | Contact us",
    "Next Post", "Log in", "Skip to main content", "Your email address will not be published.", "Related articles",
    "版权所有 © 2019 某某网", "未经授权不得转载，违者必究。", "上一篇：春天的故事", "返回首页", "责任编辑：王某", "分享到：微信 微博", "来源：某某日报 作者：王某某",
    "京ICP备12345678号", "免责声明", "点击查看更多精彩内容", "相关阅读", "发布时间：2019-01-01 来源：某某日报", "下一页", "设为首页 | 加入收藏",
]  # fmt: skip
PROSE = [
    "Click here and there in the picture to see how the colours change with the tool that you chose.",
    "The company changed its privacy policy after regulators complained that users had not been asked.",
    "He writes JavaScript for a living, and baking is his hobby.", "Advertisement spending fell by a tenth in the last quarter.",
    "She said that cookies should be eaten warm.", "Subscribers to the paper fell by 3%.", "The copyright on the song expired in 2010, fifty years after it was recorded.",
    "To continue reading, he put on his glasses and moved the lamp.", "",
    "他担任责任编辑多年，经手的书有上百种。", "下一篇小说写的是他的故乡，那里有山有水，也有他童年的伙伴。", "点击查看按钮之后，窗口会显示文档的全部修订。",
    "广告收入同比下降一成。", "她在登录系统时忘了密码。", "编辑", "来源众多的河水汇入大海。",
]  # fmt: skip


@pytest.mark.parametrize("line", BOILERPLATE)
def test_boilerplate(line):
    assert is_boilerplate_line(line)


@pytest.mark.parametrize("line", PROSE)
def test_prose_is_no_boilerplate(line):
    assert not is_boilerplate_line(line)


def test_the_share_of_boilerplate_lines():
    assert boilerplate_lines("A line of prose.\n\nShare this\nRead more\n\nAnother line of prose.") == 0.5
    assert boilerplate_lines("") == boilerplate_lines("Prose.\n\n") == 0.0
    assert boilerplate_lines("Share this") == boilerplate_lines("Next post\nRead more, Read more") == 1.0
    assert boilerplate_lines("We read more, or\nshare\nthis") == 0.0


def test_c4_lines():
    assert c4_policy_line("See our PRIVACY POLICY.") and c4_policy_line("This page uses cookies")
    assert not c4_policy_line("Cookies for sale, and a policy on privacy")
    assert javascript_line("JavaScript must be on") and not javascript_line("Java and a script")


CODE = [
    "def add(a, b):", "    return a + b;", "for (int i = 0; i < n; i++) {", "}", "});", "#include <stdio.h>", "import numpy as np",
    "from os import path", "function foo(x) { return x; }", "const x = await fetch(url);", "public static void main(String[] args) {",
    "<div class=\"menu\"><a href=\"/\">Home</a></div>", "</div>", "SELECT name, age FROM users WHERE age > 30;", "INSERT INTO t VALUES (1, 2)",
    "Traceback (most recent call last):", "  File \"a.py\", line 3, in <module>", "    at com.example.Main.run(Main.java:12)", "ValueError: bad value",
    ".menu { color: red; }", "color: red;", "x = foo(bar, 1)", "self.items[i] = None", "print(x)", "if x == 3:", "else:", "} else {",
    "2021-03-04 10:11:12,345 INFO main - started", "[ERROR] build failed", "$ git commit -m fix", ">>> 1 + 1", "std::vector<int> v;", "// a comment",
    "aGVsbG8gd29ybGQgaGVsbG8gd29ybGQgaGVsbG8gd29ybGQgaGVsbG8gd29ybGQ0NTY3ODkwMTIz", '"name": "ptft",', "# define MAX 3", "Dim x As Integer",
    "/* 计算总数 */", "int total = 0; // 总数", "print('你好，世界')", "var 名字 = document.getElementById('x');",
]  # fmt: skip
NOT_CODE = [
    "The function returns a list (see below); call it twice.", "If x is true, then y follows.", "For example:", "Import duties rose; exports fell.",
    "He wrote to me: \"Come at once!\"", "with the following:", "From here on, import costs matter.", "Select a colour from the list.",
    "Update: the road is open again.", "Call foo() before bar() in your script.", "apples (red);", "It didn't;;", "Let us assume that x = 5 holds for all of them.",
    "Return to sender;", "Warning: wet floor.", "1. Introduction", "- item (one)", "======", "Price: $5 & up", "at home (and away)", "E = mc2 is what everybody knows of him.",
    "使用 print() 函数可以输出结果。", "请在命令行输入 git status 查看状态。", "变量 x = 5 表示初始值。", "例如：", "《论语》（节选）；", "【公告】关于放假的通知", "他说：“好；很好。”",
    "http://www.example.com/a/b", "class of 1984:", "while the sun shines:", "In 1998-2004 (see table 3) the index rose 5%; then it fell 3%.",
]  # fmt: skip


@pytest.mark.parametrize("line", CODE)
def test_code(line):
    assert is_code_line(line.strip())
    assert code_share(f"{line}\nx = {{}}") == 1.0


@pytest.mark.parametrize("line", NOT_CODE)
def test_sentences_about_code_are_not(line):
    assert not is_code_line(line)


def test_the_share_of_code():
    prose = "这个函数把两个数相加，然后返回结果。" * 3
    code = "def add(a, b):\n    return add_all([a, b])"
    size = sum(len(line.strip()) for line in code.split("\n"))
    assert code_share(prose) == 0.0
    assert 0 < code_share(f"{prose}\n{code}") <= size / (size + len(prose))
    assert code_share("Look:\n```\nanything at all\n```") == pytest.approx(21 / 26)
    assert code_share("") == 0.0


def test_clean_documents_measure_nothing():
    texts = [row["text"] for row in documents(100)]
    assert measure(texts).max() == 0.0


def test_measure_is_each_measure():
    texts = [*ADS_ZH[:3], "Lorem ipsum", "\n".join(BOILERPLATE), "\n".join(CODE), ""]
    table = measure(texts)
    assert table.shape == (len(texts), len(NAMES)) and table.dtype == np.float32
    expected = [[lorem_ipsum(text), boilerplate_lines(text), spam(text), code_share(text)] for text in texts]
    np.testing.assert_allclose(table, np.array(expected, np.float32))
    assert measure([]).shape == (0, len(NAMES))


@given(st.text(max_size=300) | st.text("<>{}();=\n ab的QQ1微信!%", max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_text_has_measures_in_their_range(text):
    lorem, boilerplate, advertising, code = measure([text])[0]
    assert lorem >= 0 and advertising >= 0 and 0 <= boilerplate <= 1 and 0 <= code <= 1


@pytest.mark.parametrize(
    "unit",
    [
        "a=",
        "(",
        "{}\n",
        "<a ",
        "a.",
        "x[",
        "; ",
        "QQ",
        "微信",
        "read more ",
        "a: b ",
        "select ",
        "1:",
        "!",
        "[{",
        "Dim a(",
        "&",
        "A ",
    ],
)
def test_half_a_megabyte_of_spite_takes_no_time(unit):
    text = unit * (500_000 // len(unit.encode()))
    start = time.process_time()
    measure([text])
    assert time.process_time() - start < 2.0
