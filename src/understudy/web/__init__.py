"""What the web apps share: sign-in sessions, access, CSRF, passwords, headers. Free of torch."""
