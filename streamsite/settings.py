"""Django's view of the settings, filled from `streamsite/config.py`; nothing is decided here that an operator may set."""

from __future__ import annotations

import os
from typing import Any

import dj_database_url

from streamsite.config import Config, load_or_exit
from streamsite.secret_key import load_secret_key

CONFIG: Config = load_or_exit(os.environ)

# The two apps wire themselves from these.
STREAMING: dict[str, Any] = CONFIG.to_streaming()
OBSERVABILITY: dict[str, Any] = CONFIG.to_observability()

CONFIG.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
SECRET_KEY = (
    CONFIG.secret_key.get_secret_value() if CONFIG.secret_key else load_secret_key(CONFIG.data_dir / "secret_key")
)
DEBUG = False  # in development too: its error pages show settings and its query log grows without end
ALLOWED_HOSTS = list(CONFIG.allowed_hosts) or (["localhost", "127.0.0.1", "[::1]"] if CONFIG.is_development else [])

INSTALLED_APPS = [
    "streamsite",
    "streaming",
    "observability",
    "channels",
    "django_prometheus",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]
ROOT_URLCONF = "streamsite.urls"
ASGI_APPLICATION = "streamsite.asgi.application"

# Below /v1/: natively async, outermost first; each is called for every request of the data path.
STREAMSITE_LEAN_MIDDLEWARE = ["observability.middleware.RequestIdMiddleware"]
# Everything else: the admin, which needs sessions and may take its threads.
MIDDLEWARE = [
    "observability.middleware.RequestIdMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
CSRF_FAILURE_VIEW = "streamsite.failures.csrf_failure"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

if CONFIG.database_url is not None:
    DATABASES = {"default": dj_database_url.parse(CONFIG.database_url.get_secret_value())}
else:
    DATABASES = {
        "default": {
            "ENGINE": "django_prometheus.db.backends.sqlite3",  # counts queries and errors for /metrics
            "NAME": str(CONFIG.data_dir / "db.sqlite3"),
            "OPTIONS": {
                # Readers and one writer at a time; IMMEDIATE makes a second writer wait for its turn and not fail.
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
                "transaction_mode": "IMMEDIATE",
            },
        }
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]

CACHES = {
    "default": {
        # The sign-in limit is the only user. It has to be shared by all processes, so it is in the log's Redis.
        "BACKEND": "streamsite.cache.SharedCache",
        "LOCATION": CONFIG.redis_url or "",  # empty: the embedded server's, once it is known
        "KEY_PREFIX": "streamsite-cache",
    }
}
# A Redis that is away must not lock the administrator out of the site that shows what is wrong.
RATELIMIT_FAIL_OPEN = True
SILENCED_SYSTEM_CHECKS = [
    "django_ratelimit.W001",  # it knows no class but its own list; SharedCache is Django's RedisCache, with atomic INCR
]

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "static/"

# Safe where the site is reached over TLS, and usable on loopback without it: a cookie that is Secure is never sent back
# over http, so development, which is bound to loopback, leaves that one attribute out.
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not CONFIG.is_development
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 12 * 60 * 60
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "no-referrer"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
SECURE_HSTS_SECONDS = 0 if CONFIG.is_development else 365 * 24 * 60 * 60  # sent over TLS only
X_FRAME_OPTIONS = "DENY"

# observability sets logging up from OBSERVABILITY; Django's own configuration would add handlers beside it.
LOGGING_CONFIG = None
