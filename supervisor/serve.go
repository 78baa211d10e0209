package supervisor

import (
	"berth/supervisor/api"
	"context"
)

// SocketName is the control socket's name in the runtime directory.
const SocketName = "berth.sock"

func (s *Supervisor) serve(context.Context) (*api.Server, error) {
	return api.Listen(s.cfg.Socket, backend{s},
		api.Roles{ReadGID: s.cfg.ReadGroup, OperateGID: s.cfg.OperateGroup})
}
