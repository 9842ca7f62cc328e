package folder

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"mailpoller/internal/filename"
	"mailpoller/internal/folder/facts"
	"mailpoller/internal/mail"
	"mailpoller/internal/match"
)

// TestTextIsReadAlikeEverywhere: the same text as a subject, as the name of a sender
// and as that of an attachment is the same in the description, in the name that a
// template makes, and to match.
func TestTextIsReadAlikeEverywhere(t *testing.T) {
	t.Parallel()
	for written, want := range map[string]string{
		"=?gb2312?B?tqm1pci3yA==?=\r\n\t=?gb2312?B?z9Prt6K79c2o1qo=?=": "订单确认与发货通知", // cut within a character
		"=?big5?Q?=ADq=B3?=\r\n =?big5?Q?=E6?=":                        "訂單",
		"=?iso-2022-jp?B?GyRCN28=?= =?iso-2022-jp?B?TD4bKEI=?=":        "件名",
		"=?utf-8?B?UmVjaG51bmcgTcOkcno?=":                              "Rechnung März", // without its padding
		"=?utf-8?B?UmVjaG51 bmcgTcOkcno=?=":                            "Rechnung März",
		"=?utf-8*de?Q?Rechnung_M=C3=A4rz?=":                            "Rechnung März",
		"=?utf-8?Q?Rechnung M=C3=A4rz?=":                               "Rechnung März",
		`"=?utf-8?B?UmVjaG51bmc=?="`:                                   "Rechnung",
		"=?cp932?B?jKmQz4+Rh0A=?=":                                     "見積書①",
		"=?cp949?B?vNvA5Yxj?=":                                         "송장똠",
		"=?cp-850?B?TYFsbGVy?=":                                        "Müller",
		"=?us-ascii?B?R3L832U=?=":                                      "Grüße",
		"=?iso-8859-1?B?UHJlaXMgNSCA?=":                                "Preis 5 €",
		"=?utf-7?B?TStBUHctbGxlcg==?=":                                 "Müller",
		"=?x-unknown?B?QW5nZWJvdCAxNw==?=":                             "Angebot 17",
		"=?iso-2022-kr?B?GyQpQw48W0BlDw==?=":                           "송장",
		"=?windows-874?B?47rhqOk=?=":                                   "ใบแจ้",
		"=?klingon?Q?M=E4rz?=":                                         "=?klingon?Q?M=E4rz?=",
		"M\xe4rz":                                                      "März",
		"M\xc3\xa4rz":                                                  "März",
		"\x1b$B;3ED\x1b(B":                                             "山田",
	} {
		text := "Subject: " + written + "\r\nFrom: " + written + " <ann@example.com>\r\nDate: Sat, 31 Jan 2026 08:29:58 EST\r\n" +
			"Content-Type: application/pdf\r\nContent-Disposition: attachment; filename=" + written + "\r\n\r\nPDF\r\n"
		dir := t.TempDir()
		c := connection(dir)
		c.Name, c.Store, c.Format, c.Metadata, c.DirMode = "c", mail.IMAP, mail.Attachments, true, 0o750
		var err error
		if c.Filename, err = filename.Parse(`{{.Date | date "2006-01-02 15.04"}} {{.UID}} {{.Subject}}`); err != nil {
			t.Fatal(err)
		}
		e, err := New("i").Write(c, box, message(7, text))
		if err != nil {
			t.Fatal(err)
		}
		var known facts.Message
		description, err := os.ReadFile(metadataTemp(e))
		if err == nil {
			err = json.Unmarshal(description, &known)
		}
		if err != nil || len(known.Header.From) != 1 || len(known.Files) != 1 || known.Header.Date == nil {
			t.Fatalf("%q: %v\n%s", written, err, description)
		}
		subject := want
		if strings.HasPrefix(written, `"`) {
			subject = `"` + want + `"`
		}
		if known.Header.Subject != subject || known.Header.From[0].Name != want || known.Files[0].Original != want {
			t.Errorf("%q is %q, %q and %q; wanted %q", written, known.Header.Subject, known.Header.From[0].Name, known.Files[0].Original, want)
		}
		if name := filename.Safe("2026-01-31 13.29 7 "+subject, 200); e.Name != name {
			t.Errorf("%q makes the name %q; wanted %q", written, e.Name, name)
		}
		filter := match.Filter{Subject: []string{want}, From: []string{want}, Since: match.Since{Day: time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)}}
		if !filter.At(time.Time{}).Judge(match.ReadHead([]byte(text)), 0) {
			t.Errorf("%q does not match %q", written, want)
		}
	}
}
