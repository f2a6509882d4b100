"""What a web page carries beside its prose, measured: lorem ipsum, boilerplate, advertising, code. English and Chinese alike.

Every measure is of one text and 0 for clean prose; `measure` takes many at once. One automaton holds the phrases of all of
them, so that clean text is read once.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache

import ahocorasick_rs
import numpy as np
import numpy.typing as npt

from ptft.core.personal import mask
from ptft.core.wordlist import Found, WordMatcher

NAMES = ("lorem_ipsum", "boilerplate_lines", "spam", "code_share")


def measure(texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """(n, 4): the measures of n texts, in the order of `NAMES`."""
    table = np.zeros((len(texts), len(NAMES)), np.float32)
    for row, text in enumerate(texts):
        found = _phrases().find(text)
        table[row] = lorem_ipsum(text), _boilerplate_lines(text, found), _spam(text, found), code_share(text)
    return table


def lorem_ipsum(text: str) -> int:
    """Occurrences of "lorem ipsum" in any case (C4: Raffel et al. 2020, section 2.2, drops a page with one)."""
    return text.lower().count("lorem ipsum") if "psum" in text or "PSUM" in text else 0


# ---------------------------------------------------------------- boilerplate

_C4_POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")

_NOTICES = """
accept all cookies|accept cookies|we use cookies|this site uses cookies|this website uses cookies|our site uses cookies
cookie settings|cookie preferences|manage cookies|enable javascript|javascript is disabled|javascript must be enabled
javascript is required|requires javascript|turn on javascript|all rights reserved|no part of this site may be reproduced
by continuing to use this site|by continuing to browse|your browser does not support|please enable cookies
unsubscribe at any time|unsubscribe from this list|subscribe to our newsletter|sign up for our newsletter
this material may not be published|you must be logged in to post a comment|powered by wordpress|proudly powered by
your email address will not be published|required fields are marked|skip to main content|skip to content|skip to navigation
版权所有|未经授权不得转载|未经许可不得转载|未经书面授权|未经允许不得转载|转载请注明出处|转载请注明来源|转载请保留|请勿转载
本文来源于网络|本站所有文章|本站不承担|本网站不承担|如有侵权请联系|侵权请联系|不代表本站立场|不代表本网立场|违法和不良信息举报
icp备|icp证|公网安备|网络文化经营许可证|增值电信业务经营许可证|信息网络传播视听节目许可证|请开启javascript|您的浏览器不支持
您的浏览器版本过低|本网站使用cookie|接受所有cookie|推荐使用ie|扫一扫关注|扫描二维码关注|关注我们的微信|下载客户端|下载app
"""
_LABELS = """
privacy policy|terms of use|terms of service|terms and conditions|cookie policy|copyright|sitemap|site map|contact us|about us
share this|share on facebook|share on twitter|share via|tweet this|pin it|follow us|like us on|e-mail this|email this|print this
click here|click to enlarge|read more|continue reading|view more|show more|load more|learn more|see more|see also our
back to top|back to home|previous post|next post|previous article|next article|previous page|next page|older posts|newer posts
leave a comment|leave a reply|post a comment|add comment|log in|login|sign in|sign up|register now|forgot password
subscribe|subscribe now|newsletter|rss feed|advertisement|advertisements|sponsored content|sponsored links|related articles
related posts|related stories|recommended for you|you may also like|most read|most popular|recent posts|recent comments
tagged with|filed under|posted in|categories:|add to cart|add to wishlist|my account|shopping cart|main menu|search for
点击查看|点击进入|点击阅读|点击下载|点击这里|点此查看|点击关注|阅读全文|阅读原文|查看全文|查看更多|查看详情|更多精彩|更多内容
上一篇|下一篇|上一页|下一页|返回首页|返回顶部|返回列表|回到顶部|网站首页|设为首页|加入收藏|收藏本站|打印本页|关闭窗口
分享到|分享至|责任编辑|责编|编辑：|编辑:|来源：|来源:|文章来源|免责声明|法律声明|版权声明|隐私政策|隐私条款|使用条款|服务条款|用户协议|关于我们
联系我们|网站地图|友情链接|广告服务|广告合作|商务合作|诚聘英才|相关阅读|相关新闻|相关文章|相关推荐|延伸阅读|推荐阅读|热门推荐
猜你喜欢|热门文章|最新文章|发表评论|我要评论|网友评论|登录|注册|忘记密码|立即注册|当前位置|您的位置|您现在的位置|浏览次数|阅读次数
点击数|发布时间|发布日期|标签：|关键词：|上一条|下一条|手机版|版权归
"""
_LABEL_LINE = 60  # characters: a longer line that begins so is prose
_LABEL_SHARE = 0.4  # of a line's characters
_LETTER = re.compile(r"[^\W_]")
_COLON = re.compile("[:：]")


def c4_policy_line(line: str) -> bool:
    """Whether C4 drops the line for its policy notice: one of six phrases, in any case (Raffel et al. 2020, section 2.2)."""
    lower = line.lower()
    return any(phrase in lower for phrase in _C4_POLICY)


def javascript_line(line: str) -> bool:
    """Whether C4 drops the line for the word JavaScript (Raffel et al. 2020, section 2.2)."""
    return "javascript" in line.lower()


def is_boilerplate_line(line: str) -> bool:
    """Whether a line is a web page's furniture.

    It holds a notice ("All rights reserved", 版权所有), or is short and begins with a label ("Read more", 上一篇), which a
    colon follows, or which makes up 40 % of it together with other labels. A line of prose about privacy policies or
    JavaScript is none: C4's own, stricter rules are `c4_policy_line` and `javascript_line`.
    """
    return bool(line.strip()) and _is_boilerplate(line, _phrases().find(line))


def boilerplate_lines(text: str) -> float:
    """The share of a text's lines, blank ones aside, that `is_boilerplate_line`."""
    return _boilerplate_lines(text, _phrases().find(text))


def _boilerplate_lines(text: str, found: Sequence[Found]) -> float:
    furniture, end = 0, -1
    for start, _, word in found:
        if start > end and (word in _NOTICE_SET or word in _LABEL_SET):  # the first of its line
            begin, end = text.rfind("\n", 0, start) + 1, text.find("\n", start) % (len(text) + 1)  # -1: the text's end
            furniture += is_boilerplate_line(text[begin:end])
    return furniture / sum(1 for line in text.split("\n") if line.strip()) if furniture else 0.0


def _is_boilerplate(line: str, found: Sequence[Found]) -> bool:
    if any(word in _NOTICE_SET for _, _, word in found):
        return True
    labels = [(start, end) for start, end, word in found if word in _LABEL_SET]
    if not labels or len(line) > _LABEL_LINE or _LETTER.search(line[: labels[0][0]]):
        return False
    if _COLON.search(line[labels[0][1] - 1 : labels[0][1] + 1]):
        return True
    return sum(end - start for start, end in labels) >= _LABEL_SHARE * len(line.strip())


# ---------------------------------------------------------------- advertising

_ADVERTS: dict[float, str] = {
    3: """
order now|buy now|call now|act now|shop now|buy today|order today|call today|limited time offer|limited time only|click here to order
click here to buy|click the link below|click here now|risk free trial|money back guarantee|no credit check
lose weight fast|earn extra cash|make money online|make money fast|make money from home|double your income|be your own boss
lowest prices guaranteed|lowest price guaranteed|best price guaranteed|while supplies last|while stocks last|promo code|coupon code
use code|you have been selected|claim your prize|claim your free|claim your bonus|get yours today|get yours now|dm us|dm me to order
whatsapp us|text us now|send us a dm|satisfaction guaranteed|no prescription needed|no prescription required|no deposit bonus
don't miss out|order yours|no strings attached offer|financial freedom from home|guaranteed approval|get rich quick
立即抢购|马上抢购|火爆抢购|限时抢购|限量抢购|疯狂抢购|立即购买|点击购买|点击下单|立即下单|火速下单|马上下单|欢迎下单|欢迎选购|欢迎订购
欢迎来电|欢迎咨询|来电咨询|咨询热线|订购热线|加盟热线|招商加盟|诚招代理|诚招加盟|免费加盟|招代理|招收代理|一件代发|厂家直销|工厂直销
货到付款|欲购从速|机不可失|跳楼价|买一送一|无效退款|无效全额退款|扫码加|长按识别|长按二维码|加微信|加我微信|加v信|加薇|加qq|微信同号
日赚|月入过万|日入过千|轻松赚钱|在家赚钱|躺着赚钱|招兼职|兼职刷单|无抵押|当天放款|秒到账|秒下款|低息贷款|祖传秘方|正品保证|正品保障
假一赔十|专柜正品|一手货源|免费领取|添加微信|私聊下单|下单链接|戳链接|欢迎加盟|上门服务电话|先到先得|送完即止|名额有限|数量有限
领取优惠券|注册即送|注册就送|稳赚不赔|稳赚|包过|包赔|请加微信|私信我|联系客服
leading manufacturer|manufacturer and supplier|manufacturers and suppliers|book your stay|results guaranteed|act fast|offer ends|sale ends
enquire now|inquire now|get a quote|get a free quote|start your free|get yours|won't last long|thank me later|call us today|contact us today
专业从事|热忱欢迎|新老客户|欢迎新老|服务周到|随叫随到|价格优惠|信誉至上|您的光临|手慢无|链接在评论区|拍下立减|诚心出售|急售|急转让|随时看房
免费上门|量大从优|畅销全国|高价回收|正品代购|价格面议|现在办卡|现在下单|竭诚为您|诚信为本
free estimates|free estimate|licensed and insured|for the price of one|happy customers|join our telegram|join our whatsapp|terms apply|t&cs apply
link in bio|link in the bio|check out our website|visit our store|visit our shop|our products and services|buy one get one|swipe up
错过再等|等你来拿|全国联保|有需要的朋友|不看征信|点击链接|私我|亲们|现在报名|轻松拿证|咨询老师|下单即送|进店即送|名额仅剩|加群领取|扫码领取
扫码进群|免费咨询|电话咨询|电话预约|预约电话|来电预约|详询|详情咨询|火热报名|火热招生|火热销售|震撼上市|盛大开业|倾情回馈|诚邀加盟
sign up now|no credit card required|request your free|try it free|at checkout|赶紧下手|退订回|本息保障|新用户注册|恭迎品鉴|购房热线|空调移机""",
    2: """
instant approval|free shipping|free delivery|special offer|special offers|exclusive deal|hot deals|best deals|free trial|free quote|free consultation
risk free|no obligation|call us|visit our website|visit us at|sign up today|apply now|apply today|join now|enroll now|subscribe now
limited stock|limited time|hurry up|huge discounts|big discounts|unbeatable prices|wholesale prices|best quality|cheap price
work from home|extra income|passive income|weight loss pills|fat burner|100 free|100 guaranteed|big sale|clearance sale|mega sale
book now|start earning|bonus code|money back|top quality|replica watches|cash loans|payday loans|payday loan
包邮|秒杀|限时特惠|限时优惠|特价促销|优惠大酬宾|清仓|优惠券|免费试用|免费咨询|微信号|批发零售|厂家批发|爆款|热卖|高仿|尾单
见效快|不反弹|瘦身|丰胸|壮阳|祛斑|七天无理由|刷单|提额|套现|返现|一对一辅导
add to cart|competitive prices|competitive price|feel free to contact|perfect gift|best price|best prices|great prices|compare quotes
no hassle|lowest rates|new arrivals|sign up for free|join us today|get started today|trusted by thousands|limited time deal|money making
order online|our app|half price|your first order|your first ride|invite friends|happy hour specials|in just 7 days|free gift|free gifts|bestseller
our team of experts|we specialize in|we specialise in|we offer a wide range|wide range of products|customer satisfaction|starting at just
guaranteed first page|plans start at|schedule a viewing|to your door|in your area tonight|到货啦|拼团|年化收益|随存随取|新用户专享|即将过期
活动时间|周年庆|来袭|精美礼品|购物券|支持分期|请联系我|到账|无添加|纯手工|现场报名|首付|月供|到店|专营|专营店|品牌直营|送货上门|明星同款
本公司专业|联系人|价格合理|质量第一|质量保证|品质保证|立减|看过来|拎包入住|老店|全市连锁|承接|上门服务|值得信赖|种草|代购|可谈|诚信经营|热卖中
免费送|超低价|全网最低|史上最低|淘宝店|零风险|内部价|团购价|惊喜价|折起|咨询电话|详情请|报名热线|免费体验""",
    1: """
discount|discounts|cheap|cheapest|affordable|guaranteed|hurry|bargain|deal|deals|free|offer|bonus|save|order|orders|lowest price
toll free|contact us|our website|our products|in stock|customers|bitcoin|premium|high quality|luxury|quotes|years of experience|one stop|specials|all you can eat|24 7|free of charge|limited edition|gift|viagra|cialis|casino|whatsapp|telegram|wechat|exclusive|amazing
优惠|促销|特价|折扣|抢|正品|专业|代理|批发|直销|全场|咨询|联系|价格|赠送|免费|赚钱|微信|低至|仅售|原价|现价|秘方|全国|质量|信誉|贷款|招生|热线|客服|兼职|红包|限时|疗程|加盟|订购|选购|二维码|店铺|代办|放款|高回报|抢购|现货|洽谈|精装|出租|转让|售后|实惠|划算|好用|团购|会员|回收|老字号|让您|为您|地址|货源|额度|最快|放心|服务好""",
}
_TIMES = 2  # a phrase counts so often at most: news about one discount is no advertisement
_FEW = 4.0  # different phrases of the weakest kind count on their own; two do beside a telephone number
_FEWEST_TOKENS = 50.0  # a shorter text is measured as if it had so many
_PER = 100.0
_HANDLE = re.compile(
    r"(?:qq|扣扣|企鹅|微信|薇信|威信|vx|v信|加v|wechat|weixin|whatsapp|telegram)(?:群|号|同号|id)?[ :：=@]{0,3}"
    r"(?:[a-z0-9][a-z0-9_\-]{4,}|\+?[0-9][0-9 ()\-]{6,}[0-9])",
    re.IGNORECASE,
)
_ACCOUNTS = ("扣扣", "企鹅", "微信", "薇信", "威信", "v信", "加v", "vx", "wechat", "weixin", "whatsapp", "telegram")
_OFF = re.compile(r"%(?:(?<=[0-9]%)|(?<=[0-9] %)) ?(?:[Oo]ff\b|OFF\b|discount)")
_ONLY = re.compile(
    r"[$£€](?:(?<=only .)|(?<=just .)|(?<=Only .)|(?<=Just .)|(?<=ONLY .)|(?<=JUST .)|(?=[0-9]+ off\b))[0-9]"
)
_ONLY_ZH = re.compile(r"[仅只原现特售](?:需|要|价|售)?[:：]?[¥￥]?[0-9][0-9.,]*元")
_OFF_ZH = re.compile(r"折(?<=[0-9一二三四五六七八九]折)(?![叠射磨断腾合页线旧])|满[0-9]+元?[减送返]")
_SHOUTED = re.compile(r"[A-Z](?<![A-Za-z].)[A-Z]{2,}(?![A-Za-z])")
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")


def spam(text: str) -> float:
    """How much a text advertises: points per 100 tokens (runs between spaces, and pairs of Han characters); a short text counts as 50.

    Points: 3, 2 or 1 for a phrase by how surely it sells ("order now", 货到付款; "free shipping"; "discount"), the last
    only beside one of the others, or two of them beside a telephone number, or four of them; 3 for an account to write to (QQ, WeChat, WhatsApp, Telegram), 2 for a telephone number,
    a percentage off or a price cried out, 1 for a link; of each at most two. Shouting, half a point for an exclamation mark
    and a fifth for a word in capitals, adds half as much again at most, so that prose that sells nothing scores 0.
    """
    return _spam(text, _phrases().find(text))


def _spam(text: str, found: Sequence[Found]) -> float:
    counts = Counter(word for _, _, word in found)
    weights = {word: _WEIGHTS[word] for word in counts.keys() & _WEIGHTS.keys()}
    weak = sum(weight == 1 for weight in weights.values())
    points = sum(weight * min(_TIMES, counts[word]) for word, weight in weights.items() if weight > 1)
    if "QQ" in text or "qq" in text or not _NAMES_ACCOUNT.isdisjoint(counts):
        points += 3 * min(_TIMES, len(_HANDLE.findall(text)))
    points += 2 * _offers(text)
    if not points and weak < 2:
        return 0.0
    calls = min(_TIMES, sum(mask(text, ("mobile_zh", "phone"))[1].values()))
    if not points and not calls and weak < _FEW:
        return 0.0
    points += weak + 2 * calls + min(_TIMES, text.count("http") + text.count("www."))
    shouting = 0.5 * (text.count("!") + text.count("！")) + 0.2 * len(_SHOUTED.findall(text))
    return (points + min(shouting, points / 2)) * _PER / max(_FEWEST_TOKENS, _tokens(text))


def _offers(text: str) -> int:
    """Percentages off and prices cried out, at most two of each kind."""
    count = 0
    if "%" in text:
        count += min(_TIMES, len(_OFF.findall(text)))
    if "$" in text or "£" in text or "€" in text:
        count += min(_TIMES, len(_ONLY.findall(text)))
    if "元" in text:
        count += min(_TIMES, len(_ONLY_ZH.findall(text)))
    if "折" in text or "满" in text:
        count += min(_TIMES, len(_OFF_ZH.findall(text)))
    return count


def _tokens(text: str) -> float:
    words = len(text.split())
    return words if text.isascii() else words + sum(map(len, _HAN.findall(text))) / 2


# ---------------------------------------------------------------- phrases


def _split(phrases: str) -> list[str]:
    return [phrase for phrase in re.split(r"[|\n]", phrases) if phrase]


_NOTICE_SET, _LABEL_SET = frozenset(_split(_NOTICES)), frozenset(_split(_LABELS))
_WEIGHTS = {phrase: weight for weight in sorted(_ADVERTS) for phrase in _split(_ADVERTS[weight])}


_NAMES_ACCOUNT = frozenset(word for word in (*_ACCOUNTS, *_WEIGHTS) if any(name in word for name in _ACCOUNTS))


@cache
def _phrases() -> WordMatcher:
    return WordMatcher(dict.fromkeys([*_NOTICE_SET, *_LABEL_SET, *_WEIGHTS, *_ACCOUNTS]))


# ---------------------------------------------------------------- code

_BEGINS = re.compile(
    r"""
    [{}()\[\]]*(?:[{}\]][;,]?|[)][;,])$                                           # brackets alone
    |[.\#@]?[\w\-.\#:,\ >*]+\{[^{}]*[:;][^{}]*\}$                                   # a rule of CSS
    |\}\s*(?:else|catch|finally|while|,|\)|;)
    |(?:async\ )?def\ \w+\(|class\ \w+(?:\([\w., ]*\))?:$|(?:else|try|finally):$|except(?:\ [\w.]+(?:\ as\ \w+)?)?:$
    |(?:if|elif|while)\ .*(?:==|!=|<|>|\w\(|\bnot\b|\bis\b).*:$|for\ \w+(?:,\ \w+)*\ in\ [\w.\[\]]+(?:\(.*\))?:$
    |with\ .*\)\ as\ \w+:$|(?:if|for|while|switch)\ ?\(.*\)\ ?\{?$
    |import\ [\w.]+(?:\ as\ \w+)?;?$|import\ .*\ from\ ["'].*["'];?$|from\ [\w.]+\ import\ \S
    |\#\ ?(?:include|define|ifdef|ifndef|endif|pragma)\b|\#!/
    |(?:public|private|protected|static|const|let|var|function|func|fn|void|int|char|double|float|unsigned|struct|enum
        |package|namespace|export|async)\ (?:.*\w\(.*\)|.*\s=\s|.*[({;]$)(?:.*[^.。!?…：:，,])?$
    |@\w+(?:\(.*\)|(?<=@Override))$
    |SELECT\ .+\ FROM\b|INSERT\ INTO\b|UPDATE\ .+\ SET\b|DELETE\ FROM\b|(?:CREATE|DROP|ALTER)\ (?:TABLE|INDEX|VIEW|DATABASE)\b
    |(?:select\ .+\ from|insert\ into|update\ .+\ set|delete\ from|create\ table)\ .*;$
    |(?:(?:LEFT\ |INNER\ )?JOIN\ \w+\ ON|WHERE\ [\w.]+\ (?:[=<>]|IN\b|LIKE\b)|(?:ORDER|GROUP)\ BY\ [\w.]+)
    |\$\ [a-z./]|>>>\ \S
    |Traceback\ \(most\ recent|File\ ".*",\ line\ \d|at\ [\w.$<>]+\(.*\)$|(?:[a-z]\w*\.)*[A-Z]\w+(?:Error|Exception):\ |Caused\ by:\ [\w.]+
    |(?:Dim|ReDim)\ \w+(?:\(.*\))?(?:\ As\b|$)|End\ (?:Sub|Function|If|With|Select)$|(?:Sub|Function)\ \w+\(.*\)(?:\ As\ \w+)?$|MsgBox\ ?[("\w]
    |[\[(<]?\d[^a-z]{0,40}\d\d:\d\d:\d\d.{0,30}\b(?:TRACE|DEBUG|INFO|WARN|WARNING|ERROR|FATAL)\b|\[?(?:DEBUG|INFO|WARN|ERROR|FATAL)(?:\]|:)
    |[A-Z][a-z]{2}\ [ \d]\d\ \d\d:\d\d:\d\d\ \S+\ \S+:|\[\ *\d+\.\d{6}\]|\d+\.\d+\.\d+\.\d+\ -\ \S+\ \[
    |"[\w\-$ ]+"\ ?:\ ?(?:["\[{\d]|true|false|null)|[\[{]\ ?["{\[]                   # JSON
    |//\ ?\S|/\*|<!--|<\?(?:php|xml)|<!DOCTYPE
    """,
    re.VERBOSE,
)
_ASSIGNS_OR_CALLS = re.compile(
    r"""[A-Za-z_$][\w.\[\]"'$]*(?:
    \s*(?:[+\-*/|&]?=|:=)\s*(?!.*(?:[a-z]+\ ){4}[a-z])[^=\s].*(?<![.。!?，])$     # an assignment, not of a sentence
    |\((?:[^()]|\([^()]*\))*\)[;,]?$                                              # a call, alone
    )|[a-z\-]{3,30}:\ ?[^\s;]+(?:\ [^\s;]+){0,4};$                                # a property of CSS""",
    re.VERBOSE,
)
_STATEMENT = re.compile(r"(?=.*(?:=|\w\(|\w\[|::|->|^(?:return|break|continue|goto)\b)).*[\w)\]\"'>}+\-];$")
_OPENS_BLOCK = re.compile(r"[^\u3400-\u9fff。]*[\w)\]\"'*:>,\-=] ?\{$")
_HINTS = (*"{}<>=;[]\\&_|", "()", "):", "import ", "Traceback", "Error: ", "def ", "SELECT ", "INFO", "DEBUG", "ERROR", "WARN",
          "End ", "Dim ", "MsgBox ", "$ ", "//", "*/", "```", "#!", "#include", "# include")  # fmt: skip
_TAG = re.compile(r"</?[A-Za-z][\w:\-]*(?:\s[^<>]*)?/?>|&[a-z]{2,6};|&#\d+;")
_TAGS_SHARE, _SYMBOL_SHARE = 0.3, 0.25  # of a line's characters
_ODD = b"{}[]()<>=;&|$_\\/#+*%^~`@\"'"
_TELLING = re.compile(r"[{}=<>;\\|$].*[A-Za-z0-9]|[A-Za-z0-9].*[{}=<>;\\|$]")
_BLOB = re.compile(r"(?=[^\s]*[0-9])(?=[^\s]*[A-Z])(?=[^\s]*[a-z])[A-Za-z0-9+/=_\-]{60,}$")  # base64, hashes
_SHORTEST_BLOB, _SHORTEST_ODD, _READ = 60, 20, 400


def code_share(text: str) -> float:
    """The share of a text's characters, blank lines aside, in lines of source code, markup, queries, logs or encoded data.

    A line counts as a whole or not at all, so that identifiers and calls named in a sentence count nothing; between two
    fences of Markdown (```) every line counts.
    """
    if not _may_hold_code(text):
        return 0.0
    fenced, code, total = False, 0, 0
    for line in text.split("\n"):
        line = line.strip()
        fence = line.startswith("```")
        total += len(line)
        if fence or fenced or is_code_line(line):
            code += len(line)
        fenced = fenced != (fence and line.count("```") == 1)
    return code / max(1, total)


def _may_hold_code(text: str) -> bool:
    if _hints().find_matches_as_indexes(text.encode("utf-8", "surrogatepass")):
        return True
    return any(len(line) >= _SHORTEST_BLOB and " " not in line and line.isascii() for line in text.split("\n"))


@cache
def _hints() -> ahocorasick_rs.BytesAhoCorasick:
    return ahocorasick_rs.BytesAhoCorasick([hint.encode() for hint in _HINTS])


def is_code_line(line: str) -> bool:
    """Whether a line, without the spaces around it, is code rather than a sentence that speaks of it."""
    start = line[:_READ]  # a longer line is minified, or prose: its start tells
    if not start:
        return False
    if _BEGINS.match(start) or (len(line) >= _SHORTEST_BLOB and _BLOB.match(line)):
        return True
    data = start.encode("utf-8", "surrogatepass")
    odd = len(data) - len(data.translate(None, _ODD))
    return odd > 0 and _is_code(line, start, odd)


def _is_code(line: str, start: str, odd: int) -> bool:
    """odd: how many characters of the start are symbols."""
    if line[-1] in ";{" and (_STATEMENT if line[-1] == ";" else _OPENS_BLOCK).match(start):
        return True
    if _ASSIGNS_OR_CALLS.match(start) or line.endswith("*/"):
        return True
    if "<" in start and sum(map(len, _TAG.findall(start))) >= _TAGS_SHARE * len(start):
        return True
    dense = len(start) >= _SHORTEST_ODD and odd >= _SYMBOL_SHARE * (len(start) - start.count(" "))
    return dense and _TELLING.search(start) is not None
