"""Personal data: what is masked, what is left alone, and at what cost."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptft.core.personal import KINDS, PLACEHOLDERS, is_bank_card, is_id_zh, mask

MASKED = [
    ("write to jane.doe+x@mail.example.co.uk.", "write to <EMAIL>.", "email"),
    ("邮箱zhang_san@qq.com联系", "邮箱<EMAIL>联系", "email"),
    ("李四＠163.com", "李四＠163.com", None),  # a local part in Han is no address
    ("li4＠163.com。", "<EMAIL>。", "email"),
    ("from 113.250.153.77:8080 and 8.8.200.1/24", "from <IP>:8080 and <IP>/24", "ip"),
    ("来自203.208.60.1的访问", "来自<IP>的访问", "ip"),
    ("at 2001:4860:4860::8888, and 2606:4700::1111.", "at <IP>, and <IP>.", "ip"),
    ("route 2400:3200:: dev", "route <IP> dev", "ip"),
    ("call (212) 555-0187 or 212-555-0187", "call <PHONE> or <PHONE>", "phone"),
    ("1-800-555-0199", "<PHONE>", "phone"),
    ("1 (800) 555-0199", "<PHONE>", "phone"),
    ("+44 20 7946 0958, +1 (415) 555-2671", "<PHONE>, <PHONE>", "phone"),
    ("电话：010-62345678-801", "电话：<PHONE>", "phone"),
    ("请拨打0755-86013388咨询", "请拨打<PHONE>咨询", "phone"),
    ("（021）62345678", "<PHONE>", "phone"),
    ("0086-10-62345678", "<PHONE>", "phone"),
    ("客服400-820-8820", "客服<PHONE>", "phone"),
    ("订座电话62345678", "订座电话<PHONE>", "phone"),
    ("Tel: 0207 946 0958", "Tel: <PHONE>", "phone"),
    ("手机13812345678请", "手机<MOBILE>请", "mobile_zh"),
    ("138-1234-5678 或 +86 13912345678", "<MOBILE> 或 <MOBILE>", "mobile_zh"),
    ("138 1234 5678", "<MOBILE>", "mobile_zh"),
    ("(+86)13812345678、8613812345678", "<MOBILE>、<MOBILE>", "mobile_zh"),
    ("身份证11010519491231002X号", "身份证<ID>号", "id_zh"),
    ("440524 18800101 0014", "440524 18800101 0014", None),  # born in 1880
    ("卡号6222020200112233446。", "卡号<BANK_CARD>。", "bank_card"),
    ("4111 1111 1111 1111", "<BANK_CARD>", "bank_card"),
    ("5500-0000-0000-0004", "<BANK_CARD>", "bank_card"),
    ("3782 822463 10005", "<BANK_CARD>", "bank_card"),
    ("4111 1111 1111 1111 12/25", "<BANK_CARD> 12/25", "bank_card"),
    ("4111111111111111 04/2027, cvv", "<BANK_CARD> 04/2027, cvv", "bank_card"),
    ("3782 822463 10005 01 / 26", "<BANK_CARD> 01 / 26", "bank_card"),
    ("6222 0202 0011 2233 446 12/25", "<BANK_CARD> 12/25", "bank_card"),
    ("手机１３８１２３４５６７８。", "手机<MOBILE>。", "mobile_zh"),
    ("第１条：电话０１０－６２３４５６７８", "第１条：电话<PHONE>", "phone"),
    ("１１０１０５１９４９１２３１００２Ｘ号１", "<ID>号１", "id_zh"),
    ("卡４１１１ 1111 1111 1111，２０１９年", "卡<BANK_CARD>，２０１９年", "bank_card"),
    ("é@example.com, jörg@example.com", "<EMAIL>, <EMAIL>", "email"),
    ("e\u0301lan@example.com 张Ünal.ö@mail.schön.de的", "<EMAIL> 张<EMAIL>的", "email"),
    ("иван@пример.рф", "<EMAIL>", "email"),
]
INNOCENT = [
    "git clone git@host:repo, icon@2x.png, @mention, price @ 3.50, user@localhost",
    "version 1.2.3.44 and v10.20.30.40, 版本 8.0.45.1, kernel 10.20.30.40-generic, Section 36.2.1.3",
    "2.1.3.4 Scope", "192.168.1.100 10.0.0.25 127.0.0.1 192.0.2.33 255.255.255.0 224.0.0.251 300.1.1.1 1.20.30.40.50",
    "std::vector<int> 12:30:45 00:1b:44:11:3a:b7 fe80::1 2001:db8::1 1:2",
    "between 1998-2004 and 2003-04-05", "ISBN 978-7-302-51165-3", "ISBN 9787302511653", "$1,234,567.89",
    "3.141592653589793", "0.13812345678", "order 201900138123456780001", "a3f13812345678bc", "at 1612345678901 ms",
    "15000000000", "2019 2020 2021 2022", "10 + 13 28 29 30 133 8232 8233", "11010519491231002Y", "110105194913310020",
    "990105194912310029", "4111 1111 1111 1112", "1234567890123456", "0000 0000 0000 0000", "+1000000000",
    "4111 1111 1111 1111 13/25", "4111 1111 1111 1111 12/25/2020", "4111 1111 1111 1112 12/25", "2019 2020 2021 2022 12/25",
    "２０１９年１２月，第１３８１２３４５６７８９号", "１１３８１２３４５６７８", "a１３８１２３４５６７８", "3×4@2x, é @ 3, é@home, ö@x.png",
    "电话1200万部", "热线 30000000元", "scores 21-19, 21-17 and 212-110",
]  # fmt: skip


@pytest.mark.parametrize(("text", "masked", "kind"), MASKED)
def test_masks(text, masked, kind):
    counts = {kind: masked.count(PLACEHOLDERS[kind])} if kind else {}
    assert mask(text) == (masked, counts)
    assert not kind or mask(text, [kind]) == (masked, counts)
    assert mask(masked) == (masked, {})


@pytest.mark.parametrize("text", INNOCENT)
def test_leaves_alone(text):
    assert mask(text) == (text, {})


def test_only_the_kinds_asked_for():
    text = "a@b.com 13812345678"
    assert mask(text, ["email"]) == ("<EMAIL> 13812345678", {"email": 1})
    assert mask(text, []) == (text, {})
    with pytest.raises(KeyError, match="fax"):
        mask(text, ["fax"])


@pytest.mark.parametrize("number", ["11010519491231002X", "110105194912310021"[:17] + "x"])
def test_the_check_digit_of_identity_numbers(number):  # 11010519491231002X is the example in GB 11643-1999
    assert is_id_zh(number)
    assert sum(is_id_zh(number[:17] + check) for check in "0123456789X") == 1


@pytest.mark.parametrize("number", ["4111111111111111", "5555555555554444", "378282246310005", "30569309025904",
                                    "6011111111111117", "3530111333300000", "6200000000000005", "4222222222222"])  # fmt: skip
def test_test_cards_of_the_payment_networks(number):
    assert is_bank_card(number)
    last = int(number[-1])
    assert not is_bank_card(number[:-1] + str((last + 1) % 10))


PIECES = st.sampled_from(
    [
        *"0123456789０１８ -.+@:/<>()（）aéи电话，\n",
        *(text for text, _, _ in MASKED),
        *PLACEHOLDERS.values(),
        "13812345678",
        "１３８１２３４５６７８",
        " 12/25",
        "a@b.com",
        "11010519491231002X",
        "4111111111111111",
        "113.250.153.77",
    ]
)


@given(st.lists(PIECES, max_size=12).map("".join), st.sets(st.sampled_from(KINDS)))
@settings(max_examples=400, deadline=None)
def test_masking_twice_is_masking_once(text, kinds):
    masked, counts = mask(text, tuple(kinds))
    assert mask(masked, tuple(kinds)) == (masked, {})
    assert all(masked.count(PLACEHOLDERS[kind]) >= count for kind, count in counts.items())


@given(st.text(max_size=200), st.text(max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_text_around_it(before, after):
    assert "jane@example.com" not in mask(f"{before} jane@example.com {after}")[0]


@pytest.mark.parametrize(
    "unit",
    ["a@", "a@a.", "1.", "1", "12 ", "1-", "+1 ", "(010)", "2001:", "2:", "138 1234 5678 ", "212-555-1234-",
     "212 555 1234 ", "1.2.3.", "8.8.200.1 ", "a.", "4111 ", "(212) ", "86", "+86", "电话1", "a@b.cn13812345678", "é@", "é@é.", "ö", "１", "１３８ ", "4111 1111 1111 1111 12/", "0", "13812345678a@b.cn "],
)  # fmt: skip
def test_a_megabyte_of_spite_takes_no_time(unit):
    text = unit * (1_000_000 // len(unit.encode()))
    start = time.process_time()
    mask(text)
    assert time.process_time() - start < 1.5  # about 0.4 s at worst on an idle core
