package supervisor

import "berth/supervisor/api"

var (
	errStopped    = &api.Error{Code: "failed", Message: "the supervisor is ending"}
	errNotRunning = &api.Error{Code: "not-running", Message: "the unit is not running"}
)
