package main

import "testing"

func TestCheck(t *testing.T) {
	t.Parallel()
	try(t, []command{
		{name: "right", args: "check", out: "CONFIG: ok, 2 connections, 1 enabled\n"},
		{
			name: "with doubts", config: usual + "  - {name: c, folder: DIR/nosuch}\n", args: "check",
			out:  "CONFIG: ok, 3 connections, 2 enabled\n",
			errs: "CONFIG: warning: connection c: folder: open DIR/nosuch: no such file or directory\n",
		},
		{
			name: "with problems", config: usual + "  - {name: a, color: red}\n", args: "check", code: 1,
			golden: true,
		},
		{name: "no file", args: "check --config DIR/nosuch.yaml", code: 1, golden: true},
		{name: "empty", config: " ", args: "check", code: 1, golden: true},
	})
}
