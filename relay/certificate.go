package relay

import (
	"context"
	"time"

	"srtrelay/api"
)

// openCertificate reads the certificate of the API, if it has one.
func (r *relay) openCertificate() (err error) {
	c := r.config
	if c.APICert == "" {
		return nil
	}
	if r.certificate, err = api.OpenCertificate(c.APICert, c.APIKey); err != nil {
		return err
	}
	if ends := r.certificate.NotAfter(); time.Now().After(ends) {
		r.log.Warn("the API's certificate has ended", "file", c.APICert, "not_after", ends.UTC())
	}
	return nil
}

// watchCertificate follows the files of the API's certificate.
func (r *relay) watchCertificate(ctx context.Context) {
	tick := time.NewTicker(api.CertificateInterval)
	defer tick.Stop()
	r.certificate.Watch(ctx, tick.C, func(err error) {
		if err != nil {
			r.log.Error("certificate not reloaded, the old one stays in force", "error", err)
			return
		}
		r.log.Info("certificate in force", "file", r.config.APICert, "not_after", r.certificate.NotAfter().UTC())
	})
}
