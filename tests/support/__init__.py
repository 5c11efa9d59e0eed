"""What tests share: real processes, proxies, deadlines."""
