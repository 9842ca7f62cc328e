package header

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestAddresses(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		`ann@example.com`:                                                   `ann@example.com`,
		`Ann <ann@example.com>`:                                             `Ann <ann@example.com>`,
		`Ann B. Example <ann@example.com>`:                                  `Ann B. Example <ann@example.com>`,
		`<ann@example.com>`:                                                 `ann@example.com`,
		"ann@a,\r\n bob@b ,, carl@c,":                                       `ann@a | bob@b | carl@c`,
		`"Carl, Jr." <carl@a>, "D \"E\" F\\" <d@b>`:                         `Carl, Jr. <carl@a> | D "E" F\ <d@b>`,
		`"john doe"@example.com, <"a,b"@c>`:                                 `"john doe"@example.com | "a,b"@c`,
		`ann@example.com (Ann (née B.) Example)`:                            `Ann (née B.) Example <ann@example.com>`,
		`Ann (here) <ann@a(there)>`:                                         `Ann <ann@a>`,
		`=?utf-8?Q?Doe=2C_J=C3=B6rg?= <j@a>`:                                `Doe, Jörg <j@a>`,
		`=?utf-8?Q?Doe, J=C3=B6rg?= <j@a>, b@c`:                             `Doe, Jörg <j@a> | b@c`,
		`"=?utf-8?B?SsO2cmc=?=" <j@a>`:                                      `Jörg <j@a>`,
		`=?utf-8?B?SsO2cmc?= "Q." =?utf-8*de?Q?M=C3=BC?= <j@a>`:             `Jörg Q. Mü <j@a>`,
		"=?gb2312?B?tqm1pci3yA==?=\r\n =?gb2312?B?z9Prt6K79c2o1qo=?= <o@a>": `订单确认与发货通知 <o@a>`,
		`j@a (=?utf-8?Q?J=C3=B6rg?=)`:                                       `Jörg <j@a>`,
		"J\xf6rg <j@a>, \"M\xc3\xbc\" <m@b>":                                `Jörg <j@a> | Mü <m@b>`,
		"\x1b$B;3ED\x1b(B <yamada@a>, b@c":                                  `山田 <yamada@a> | b@c`, // in it: ;3ED
		"\x1b$B\"(!\"\x1b(B@x <y@a>":                                        `※、@x <y@a>`,
		`Team: ann@a, "B" <bob@b>;, carl@c`:                                 `ann@a | B <bob@b> | carl@c`,
		`Ann <ann@a> Team: bob@b <c@c>;`:                                    `Ann <ann@a> | bob@b <c@c>`,
		`undisclosed-recipients:;`:                                          ``,
		`Undisclosed recipients: ;`:                                         ``,
		`undisclosed-recipients:`:                                           ``,
		`Re: John <j@a>`:                                                    `Re: John <j@a>`,
		`one@a; two@b`:                                                      `one@a | two@b`,
		`ann@a bob@b`:                                                       `ann@a | bob@b`,
		`Ann <ann@a> Bob <bob@b>`:                                           `Ann <ann@a> | Bob <bob@b>`,
		`Example, Ltd. <sales@a>`:                                           `Example, Ltd. <sales@a>`,
		`Doe, John, MD <john@a>, Roe, Jane <jane@b>`:                        `Doe, John, MD <john@a> | Roe, Jane <jane@b>`,
		`"Doe, John <j@a>, "Roe, Jane" <r@b>`:                               `Doe, John <j@a> | Roe, Jane <r@b>`,
		`"John "Johnny" Doe" <j@a>`:                                         `John Johnny Doe <j@a>`,
		`John Doe" <j@a>`:                                                   `John Doe <j@a>`,
		`John (Johnny <j@a>`:                                                `John (Johnny <j@a>`,
		`John <j@a`:                                                         `John <j@a>`,
		`John <j@a, Jane <r@b>`:                                             `John <j@a> | Jane <r@b>`,
		`John j@a>`:                                                         `John <j@a>`,
		`<<j@a>>`:                                                           `j@a`,
		`John <mailto:j@a>, MAILTO:r@b`:                                     `John <j@a> | r@b`,
		`'j@a', <'r@b'>`:                                                    `j@a | r@b`,
		`john @ example.com, Jane < r@b >`:                                  `john@example.com | Jane <r@b>`,
		`<@relay,@other:j@a>`:                                               `j@a`,
		`j@a <John Doe>`:                                                    `John Doe <j@a>`,
		`j@a <j@a>`:                                                         `j@a <j@a>`,
		`<j@a> John`:                                                        `John <j@a>`,
		`j@[192.0.2.1], r@[IPv6:2001:db8::1]`:                               `j@[192.0.2.1] | r@[IPv6:2001:db8::1]`,
		`jürgen@exämple.de`:                                                 `jürgen@exämple.de`,
		`=?utf-8?Q?j=40a?=`:                                                 ``, // no address by the book, nor by the eye
		`Cron <root>`:                                                       `Cron <root>`,
		`nobody`:                                                            ``,
		`John Doe, Jane`:                                                    ``,
		`<>`:                                                                ``,
		`@, a@, @b, "@"`:                                                    ``,
		`x[y <j@a>`:                                                         `x[y <j@a>`,
		``:                                                                  ``,
		"a\x00b <j\x07@a>":                                                  `a b <j@a>`,
	} {
		var got []string
		for _, a := range Addresses(value) {
			if text := a.Address; a.Name == "" {
				got = append(got, text)
			} else {
				got = append(got, fmt.Sprintf("%s <%s>", a.Name, text))
			}
		}
		if text := strings.Join(got, " | "); text != want {
			t.Errorf("%q: %s; wanted %s", value, text, want)
		}
	}
}

func TestAddressesAreBounded(t *testing.T) {
	t.Parallel()
	for _, value := range []string{strings.Repeat("a@b,", 1000), strings.Repeat("a@b ", 1000), "x <a@b" + strings.Repeat("c", 100_000) + ">", strings.Repeat("x", 100_000) + " <a@b>"} {
		all := Addresses(value)
		if len(all) == 0 || len(all) > maxList {
			t.Errorf("%.20s...: %d addresses", value, len(all))
		}
		for _, a := range all {
			if len(a.Name) > maxText || len(a.Address) > maxText {
				t.Errorf("%.20s...: a name of %d bytes and an address of %d", value, len(a.Name), len(a.Address))
			}
		}
	}
	if text, err := json.Marshal(Addresses("Ann <ann@a>, bob@b")); err != nil || string(text) != `[{"name":"Ann","address":"ann@a"},{"address":"bob@b"}]` {
		t.Errorf("%s, %v", text, err)
	}
}

func TestIDs(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"<1@example.com>":       "1@example.com",
		"<a@b>\r\n <c@d>(x)<e>": "a@b c@d e",
		"1@example.com":         "1@example.com",
		"(nobody)":              "(nobody)",
		"two words":             "",
		"<a@b> text <c":         "a@b",
		"<a <b@c>":              "b@c",
		"<>":                    "",
		"":                      "",
		"<x\x07y@z>":            "x y@z",
		"<\xe4@b>":              "ä@b",
	} {
		if got := strings.Join(IDs(value), " "); got != want {
			t.Errorf("%q: %q; wanted %q", value, got, want)
		}
	}
	if all := IDs(strings.Repeat("<a@b>", 1000)); len(all) != maxList {
		t.Errorf("%d ids", len(all))
	}
}
