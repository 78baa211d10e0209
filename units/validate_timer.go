package units

import (
	"errors"

	"berth/units/calendar"
)

// calendar reports a calendar expression that cannot be read, at the place in it.
func (d *decoder) calendar(n *node, f Field, err error) {
	at, hint := n.at, ""
	if wrong := (*calendar.Error)(nil); errors.As(err, &wrong) {
		hint = wrong.Hint
		// Only where the file has the expression as it is: no escapes, no specifiers.
		if in := at.file.text[at.start:at.end]; string(in) == `"`+wrong.Text+`"` || string(in) == "'"+wrong.Text+"'" {
			at.start += 1 + wrong.Offset
			at.end = max(at.start+1, at.end-1)
		}
		d.rep.fail("U060", at, hint, "%s: %s", displayKey(f), wrong.Reason)
		return
	}
	d.rep.fail("U060", at, hint, "%s: %v", displayKey(f), err)
}

// timer holds [timer] to one of its two clocks, and to a unit that it can start again.
func (v *validator) timer() {
	t, usual := v.unit.Timer, Defaults().Timer
	switch {
	case t.Calendar != "" && t.Every != 0:
		v.rep.add("U024", Error, v.at("timer.every"), "remove one of the two", "the timer has both calendar and every",
			v.at("timer.calendar").position("the calendar"))
	case !t.Set() && t != usual && !v.given("timer.calendar") && !v.given("timer.every"):
		v.rep.fail("U023", v.at("timer"), `add calendar = "*-*-* 03:00" or every = "1h"`, "timer.calendar or timer.every is missing")
	}
	if t.Every != 0 && t.Missed != usual.Missed {
		v.useless("beside timer.every", "timer.missed")
	}
	if t.Set() && v.unit.Service.Remain && v.unit.Service.Type == "task" {
		v.rep.fail("U031", v.at("service.remain"), "leave it out", "a task that remains up is not started again by its timer")
	}
}
