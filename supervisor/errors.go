package supervisor

import "berth/supervisor/api"

var (
	errStopped    = &api.Error{Code: "failed", Message: "the supervisor is ending"}
	errPaused     = &api.Error{Code: "failed", Message: "the unit is paused", Hint: "berth resume lets it run on"}
	errNotRunning = &api.Error{Code: "not-running", Message: "the unit is not running"}
)
