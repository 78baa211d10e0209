package probe

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// answerLimit bounds what is read of an answer, headers and body together.
const answerLimit = 64 << 10

// HTTP requests the URL (http or https, host as for TCP) with GET in the
// container's network namespace. A status from 200 to 399 is a success;
// redirects are not followed, proxies not used, certificates not verified: the
// question is whether the service answers, and it is asked at its own address.
// The body's beginning, at most OutputLimit bytes, is returned in any case where
// there is one; it has to come before ctx ends.
func HTTP(ctx context.Context, t Target, url string) (output string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", fmt.Errorf("cannot request %s: %w", url, err)
	}
	req.Close = true
	req.Header.Set("User-Agent", "berth-probe")
	address, secure := req.URL.Host, req.URL.Scheme == "https"
	if req.URL.Port() == "" {
		port := "80"
		if secure {
			port = "443"
		}
		address = net.JoinHostPort(req.URL.Hostname(), port)
	}
	conn, err := dial(ctx, t, address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	defer bound(ctx, conn)()
	if secure {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, ServerName: serverName(req.URL.Hostname())})
	}
	status, output, err := exchange(conn, req)
	switch {
	case err != nil:
		return output, fmt.Errorf("no answer from %s: %w", address, plain(err))
	case status < 200 || status > 399:
		return output, fmt.Errorf("status %d %s", status, http.StatusText(status))
	}
	return output, nil
}

// serverName is what TLS names in clear: not an address (RFC 6066, section 3).
func serverName(host string) string {
	if _, err := netip.ParseAddr(host); err == nil {
		return ""
	}
	return host
}

var (
	errTooLong = errors.New("its headers are longer than 64 KiB")
	errNotHTTP = errors.New("what came is not HTTP")
	errClosed  = errors.New("it closed the connection")
)

// why tells what is wrong with an answer without repeating it, as net/http does.
func why(ctx context.Context, err error, answer *io.LimitedReader) error {
	deadline, limited := ctx.Deadline()
	var broken *net.OpError
	switch {
	case limited && !time.Now().Before(deadline):
		return errTimeout
	case errors.As(err, &broken):
		return err
	case answer.N <= 0:
		return errTooLong
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errClosed
	}
	return errNotHTTP
}

// exchange sends the request and reads the answer.
func exchange(conn net.Conn, req *http.Request) (status int, output string, err error) {
	if err := req.Write(conn); err != nil {
		return 0, "", err
	}
	limited := &io.LimitedReader{R: conn, N: answerLimit}
	r := bufio.NewReaderSize(limited, OutputLimit)
	for {
		resp, err := http.ReadResponse(r, req)
		if err != nil {
			return 0, "", why(req.Context(), err, limited)
		}
		if resp.StatusCode < 200 && resp.StatusCode != http.StatusSwitchingProtocols {
			continue // what comes before the answer, like 103 (RFC 9110, section 15.2)
		}
		body, err := io.ReadAll(io.LimitReader(resp.Body, OutputLimit))
		return resp.StatusCode, string(body), err
	}
}
