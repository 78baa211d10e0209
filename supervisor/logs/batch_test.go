package logs

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// render gives a batch as text: one message a line, as "tag prio text".
func render(b *batch, data string) (out []string) {
	for _, m := range b.msgs[:b.n] {
		tag := "F"
		if m.partial {
			tag = "P"
		}
		text := ""
		if m.notice {
			tag, text = "N", fmt.Sprint(m.dropped)
		} else {
			text = data[m.off : m.off+m.len]
		}
		out = append(out, fmt.Sprintf("%s%d %s", tag, m.priority, text))
	}
	return out
}

func TestPlan(t *testing.T) {
	sec := int64(time.Second)
	limited := rate{lines: 2, per: 10 * time.Second}
	tests := []struct {
		name string
		base state
		in   input
		data string
		want []string
		rest string // of the data, not taken
		end  state
	}{
		{name: "nothing"},
		{name: "no end yet", data: "abc", rest: "abc"},
		{name: "lines", data: "a\n\nb\nc", want: []string{"F6 a", "F6 ", "F6 b"}, rest: "c", end: state{src: 5}},
		{name: "final", in: input{final: true}, data: "a\nb", want: []string{"F6 a", "F6 b"}, end: state{src: 3}},
		{name: "priority", data: "<3>x\n<8>y\n<3x\n<\n", want: []string{"F3 <3>x", "F6 <8>y", "F6 <3x", "F6 <"}, end: state{src: 16}},
		{name: "exactly the limit", in: input{limit: 4}, data: "abcd\n", want: []string{"F6 abcd"}, end: state{src: 5}},
		{name: "the limit, end unknown", in: input{limit: 4}, data: "abcd", rest: "abcd"},
		{name: "too long", in: input{limit: 4}, data: "<2>abcdefg\nx\n", want: []string{"P2 <2>a", "P2 bcde", "F2 fg", "F6 x"}, end: state{src: 13}},
		{name: "cut at a rune", in: input{limit: 4}, data: "abcé\n", want: []string{"P6 abc", "F6 é"}, end: state{src: 6}},
		{name: "cut in garbage", in: input{limit: 4}, data: "\xa9\xa9\xa9\xa9\xa9\n", want: []string{"P6 \xa9\xa9\xa9\xa9", "F6 \xa9"}, end: state{src: 6}},
		{name: "force", in: input{force: true}, data: "abc", want: []string{"P6 abc"}, end: state{src: 3, cont: [2]uint8{contOpen | 6}}},
		{name: "continued", base: state{cont: [2]uint8{contOpen | 2}}, data: "<7>d\n", want: []string{"F2 <7>d"}, end: state{src: 5}},
		{
			name: "rate", base: state{window: sec}, in: input{rate: limited, now: 2 * sec}, data: "a\nb\nc\nd\n", want: []string{"F6 a", "F6 b"},
			end: state{src: 8, used: 2, dropped: 2, window: sec},
		},
		{
			name: "rate, only dropped", base: state{window: sec, used: 2}, in: input{rate: limited, now: 2 * sec}, data: "c\n",
			end: state{src: 2, used: 2, dropped: 1, window: sec},
		},
		{
			name: "rate, next period", base: state{window: sec, used: 2, dropped: 5}, in: input{rate: limited, now: 11 * sec}, data: "x\n", want: []string{"N4 5", "F6 x"},
			end: state{src: 2, used: 1, window: 11 * sec},
		},
		{name: "rate, flush", base: state{window: sec, used: 2, dropped: 5}, in: input{rate: limited, now: 2 * sec, flush: true}, want: []string{"N4 5"}, end: state{used: 2, window: sec}},
		{name: "rate, clock set back", base: state{window: 99 * sec, used: 2}, in: input{rate: limited, now: sec}, data: "x\n", want: []string{"F6 x"}, end: state{src: 2, used: 1, window: sec}},
		{name: "rate taken away", base: state{window: sec, used: 2, dropped: 1}, in: input{now: 2 * sec}, data: "x\n", want: []string{"N4 1", "F6 x"}, end: state{src: 2, used: 2, window: sec}},
		{
			name: "rate, a dropped line's parts", base: state{window: sec, used: 2}, in: input{rate: limited, now: 2 * sec, limit: 4}, data: "abcdefgh", rest: "efgh",
			end: state{src: 4, used: 2, dropped: 1, window: sec, cont: [2]uint8{contOpen | contDrop | 6}},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			in := test.in
			in.data = []byte(test.data)
			if in.limit == 0 {
				in.limit = 100
			}
			var b batch
			b.plan(test.base, in)
			if diff := cmp.Diff(test.want, render(&b, test.data)); diff != "" {
				t.Error(diff)
			}
			end := b.states[b.n]
			if rest := test.data[end.src:]; rest != test.rest {
				t.Errorf("not taken: %q, expected %q", rest, test.rest)
			}
			if test.end == (state{}) {
				test.end = test.base
			}
			if end != test.end {
				t.Errorf("state %+v, expected %+v", end, test.end)
			}
		})
	}
}

func TestPlanManyLines(t *testing.T) {
	var b batch
	b.plan(state{}, input{data: []byte(strings.Repeat("x\n", 100)), limit: 100})
	if b.n != maxMessages || b.states[b.n].src != 2*maxMessages {
		t.Errorf("%d messages of %d bytes", b.n, b.states[b.n].src)
	}
}

// FuzzLines cuts any bytes, coming in any pieces, and checks that the messages
// put together again are the bytes.
func FuzzLines(f *testing.F) {
	f.Add([]byte("a\nb\n\n<3>c"), uint8(5), uint16(16))
	f.Add([]byte("aé\xff\x00bbbbbbbbbbbbbb\n"), uint8(1), uint16(4))
	f.Fuzz(func(t *testing.T, data []byte, piece uint8, limit uint16) {
		in := input{limit: max(int(limit), utf8.UTFMax)}
		var st state
		var b batch
		var out []byte
		start, open := 0, false
		for end := 0; ; {
			end = min(end+max(1, int(piece)), len(data))
			for {
				in.data, in.final = data[start:end], end == len(data)
				in.force = len(in.data) > 200
				b.plan(st, in)
				prev := uint32(0)
				for i, m := range b.msgs[:b.n] {
					text := in.data[m.off : m.off+m.len]
					if m.len > in.limit || bytes.IndexByte(text, '\n') >= 0 || m.off != int(prev) {
						t.Fatalf("bad message %+v", m)
					}
					if m.partial && m.len == 0 {
						t.Fatal("an empty part")
					}
					out = append(out, text...)
					if !m.partial {
						out = append(out, '\n')
					}
					open = m.partial
					prev = b.states[i+1].src
				}
				st = b.states[b.n]
				start += int(st.src)
				if open != (st.cont[0]&contOpen != 0) {
					t.Fatal("the state does not know that a line is open")
				}
				if st.src == 0 {
					break
				}
			}
			if end == len(data) {
				break
			}
		}
		want := data
		if len(data) > 0 && data[len(data)-1] != '\n' && !open {
			want = append(bytes.Clone(data), '\n')
		}
		if !bytes.Equal(out, want) {
			t.Fatalf("got %q, expected %q", out, want)
		}
	})
}
