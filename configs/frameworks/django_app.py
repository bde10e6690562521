"""Users by HTTP, with Django under gunicorn; a whole site in one file.

gunicorn --chdir configs/frameworks django_app:application --workers 2
gunicorn --chdir configs/frameworks django_app:application --worker-class gthread --threads 8
gunicorn --chdir configs/frameworks django_app:application --worker-class gevent
"""

from __future__ import annotations

import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

import mesh

settings.configure(
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.environ.get("SECRET_KEY", "only for this example"),
    ALLOWED_HOSTS=["*"],
)
users = mesh.connect("users", timeout=5)


def user(request: HttpRequest, number: int) -> HttpResponse:
    try:
        return JsonResponse(users.get(number))
    except KeyError:
        return JsonResponse({"detail": f"there is no user {number}"}, status=404)
    except (mesh.TimeoutExpired, mesh.LostRemote, mesh.Overloaded) as exc:
        return JsonResponse({"detail": str(exc)}, status=503)


def export(request: HttpRequest) -> StreamingHttpResponse:
    lines = (f"{row['number']} {row['name']}\n" for row in users.export())
    return StreamingHttpResponse(lines, content_type="text/plain")


urlpatterns = [path("users/<int:number>", user), path("users", export)]
application = get_wsgi_application()
