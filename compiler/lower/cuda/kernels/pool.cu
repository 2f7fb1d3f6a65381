// Pooling over windows, images channels last. S: n, h, w, c (of x), oh, ow (of y), kh, kw, sh, sw, ph, pw (pads before),
// include (pads count in the average), V, blocks.
template <class S> struct Pooling {
  // A pack of channels at one pixel of an image of the given size.
  int n, row, column, channel;
  __device__ inline Pooling(int i, int height, int width) {
    constexpr int Packs = S::c / S::V;
    channel = i % Packs * S::V;
    i /= Packs;
    column = i % width;
    i /= width;
    row = i % height;
    n = i / height;
  }
  static __device__ inline int input(int n, int row, int column, int channel) { return ((n * S::h + row) * S::w + column) * S::c + channel; }
  static __device__ inline int output(int n, int row, int column, int channel) { return ((n * S::oh + row) * S::ow + column) * S::c + channel; }

  static __device__ inline float divisor(int row, int column) {
    if (S::include) return S::kh * S::kw;
    int top = row * S::sh - S::ph, left = column * S::sw - S::pw;
    return (float)((smaller(top + S::kh, S::h) - larger(top, 0)) * (smaller(left + S::kw, S::w) - larger(left, 0)));
  }

  // windows calls f(row, column, place, holds) for every window that pixel (row, column) of x may be in: which output it is of,
  // the pixel's place in it, row by row, and whether it is in it. All outputs are inside, so that all of them can be loaded at once.
  template <class F> static __device__ inline void windows(int row, int column, F f) {
#pragma unroll
    for (int a = S::kh - 1; a >= 0; a--)
#pragma unroll
      for (int b = S::kw - 1; b >= 0; b--) {
        int y = row + S::ph - a, x = column + S::pw - b, r = clamped(y / S::sh, S::oh), q = clamped(x / S::sw, S::ow);
        f(r, q, a * S::kw + b, r * S::sh == y && q * S::sw == x);
      }
  }

  // pixels calls f(row, column, place, inside) for every pixel of the window of an output.
  template <class F> static __device__ inline void pixels(int row, int column, F f) {
    int top = row * S::sh - S::ph, left = column * S::sw - S::pw;
#pragma unroll
    for (int a = 0; a < S::kh; a++)
#pragma unroll
      for (int b = 0; b < S::kw; b++) {
        int y = clamped(top + a, S::h), x = clamped(left + b, S::w);
        f(y, x, a * S::kw + b, y == top + a && x == left + b);
      }
  }
  static __device__ inline int clamped(int i, int n) { return smaller(larger(i, 0), n - 1); }
};

// MaxPool (operation max_pool2d).
template <class S> struct MaxPool {
  In<typename S::Image> x;
  Out<typename S::Image> y;

  __device__ void run(int block) const {
    typedef Pooling<S> P;
    for (int i = block * Threads + thread(); i < S::n * S::oh * S::ow * (S::c / S::V); i += S::blocks * Threads) {
      P at(i, S::oh, S::ow);
      Pack<S::V> best;
      bool any = false;
      P::pixels(at.row, at.column, [&](int r, int q, int, bool inside) {
        Pack<S::V> v = load<S::V>(x, P::input(at.n, r, q, at.channel));
        for (int k = 0; k < S::V; k++) best.v[k] = inside && (!any || v.v[k] > best.v[k]) ? v.v[k] : best.v[k];
        any = any || inside;
      });
      store<S::V>(y, P::output(at.n, at.row, at.column, at.channel), best);
    }
  }
};

// MaxPoolGrad: the cotangent of each window goes to its first maximum (operation max_pool2d_grad). A block takes some rows of
// an image and some channels. It finds the places of the maxima of all windows that reach into those rows; then every pixel
// of x gathers from the windows whose maximum it is: no two threads add to one place.
// S: also band (rows of x), lanes (packs of channels), most (rows of windows that reach into a band).
template <class S> struct MaxPoolGrad {
  static constexpr int Tiles = ceiling(S::c / S::V, S::lanes), Bands = ceiling(S::h, S::band);
  In<typename S::Image> g, x;
  Out<typename S::Image> dx;

  __device__ void run(int block) const {
    typedef Pooling<S> P;
    int tile = block % Tiles, band = block / Tiles % Bands, image = block / Tiles / Bands;
    int top = band * S::band, first = larger(0, ceiling(top + S::ph - S::kh + 1, S::sh)); // rows of x, of windows
    auto places = shared<u64>(0, S::most * S::ow * S::lanes); // 16 bits a channel
    for (int i = thread(); i < S::most * S::ow * S::lanes; i += Threads) {
      int channel = (tile * S::lanes + i % S::lanes) * S::V, column = i / S::lanes % S::ow, row = first + i / S::lanes / S::ow;
      if (channel < S::c && row < S::oh) places[i] = maxima(image, row, column, channel);
    }
    __syncthreads();
    for (int i = thread(); i < S::band * S::w * S::lanes; i += Threads) {
      int lane = i % S::lanes, channel = (tile * S::lanes + lane) * S::V, column = i / S::lanes % S::w, row = top + i / S::lanes / S::w;
      if (channel >= S::c || row >= S::h) continue;
      Pack<S::V> sum = zero<S::V>();
      P::windows(row, column, [&](int r, int q, int place, bool holds) {
        Pack<S::V> v = load<S::V>(g, P::output(image, r, q, channel));
        u64 most = holds ? places[((r - first) * S::ow + q) * S::lanes + lane] : 0;
        for (int k = 0; k < S::V; k++)
          if (holds && (int)(most >> 16 * k & 0xffff) == place) sum.v[k] += v.v[k];
      });
      store<S::V>(dx, P::input(image, row, column, channel), sum);
    }
  }

  // maxima is where in a window the first maximum of each channel is.
  __device__ inline u64 maxima(int image, int row, int column, int channel) const {
    Pack<S::V> best;
    int place[S::V];
    bool any = false;
    Pooling<S>::pixels(row, column, [&](int r, int q, int here, bool inside) {
      Pack<S::V> v = load<S::V>(x, Pooling<S>::input(image, r, q, channel));
      for (int k = 0; k < S::V; k++) {
        bool more = inside && (!any || v.v[k] > best.v[k]);
        best.v[k] = more ? v.v[k] : best.v[k];
        place[k] = more ? here : place[k];
      }
      any = any || inside;
    });
    u64 all = 0;
    for (int k = 0; k < S::V; k++) all |= (u64)place[k] << 16 * k;
    return all;
  }
};

// AveragePool (operation avg_pool2d).
template <class S> struct AveragePool {
  In<typename S::Image> x;
  Out<typename S::Image> y;

  __device__ void run(int block) const {
    typedef Pooling<S> P;
    for (int i = block * Threads + thread(); i < S::n * S::oh * S::ow * (S::c / S::V); i += S::blocks * Threads) {
      P at(i, S::oh, S::ow);
      Pack<S::V> sum = zero<S::V>();
      P::pixels(at.row, at.column, [&](int r, int q, int, bool inside) {
        Pack<S::V> v = load<S::V>(x, P::input(at.n, r, q, at.channel));
        for (int k = 0; k < S::V; k++) sum.v[k] += inside ? v.v[k] : 0.0f;
      });
      float factor = 1.0f / P::divisor(at.row, at.column);
      for (int k = 0; k < S::V; k++) sum.v[k] *= factor;
      store<S::V>(y, P::output(at.n, at.row, at.column, at.channel), sum);
    }
  }
};

// AveragePoolGrad (operation avg_pool2d_grad).
template <class S> struct AveragePoolGrad {
  In<typename S::Image> g;
  Out<typename S::Image> dx;

  __device__ void run(int block) const {
    typedef Pooling<S> P;
    for (int i = block * Threads + thread(); i < S::n * S::h * S::w * (S::c / S::V); i += S::blocks * Threads) {
      P at(i, S::h, S::w);
      Pack<S::V> sum = zero<S::V>();
      P::windows(at.row, at.column, [&](int r, int q, int, bool holds) {
        Pack<S::V> v = load<S::V>(g, P::output(at.n, r, q, at.channel));
        float factor = 1.0f / P::divisor(r, q);
        for (int k = 0; k < S::V; k++) sum.v[k] += holds ? v.v[k] * factor : 0.0f;
      });
      store<S::V>(dx, P::input(at.n, at.row, at.column, at.channel), sum);
    }
  }
};
